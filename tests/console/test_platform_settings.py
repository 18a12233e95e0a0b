"""Every setting of the platform acts where it says."""

from __future__ import annotations

import re

import pytest

from app.accounts import User
from app.branding import current_site
from app.facilities import storage
from app.tenancy import tenant_context
from app.tenancy.errors import QuotaExceeded
from tests.conftest import second_factor
from tests.printed import filled_in

GIB = 1 << 30


@pytest.fixture
def change(operator):
    """Change settings on the console's page."""

    def sent(**values):
        return operator.post("/settings/", data=filled_in(operator.get("/settings/").text, "platform_name", **values))

    return sent


def test_the_name_and_the_support_address_are_shown_to_people(alpha, client_for, operator, change):
    assert change(platform_name="Riverbank Hosting", support_address="help@riverbank.test").status_code == 303
    assert "Riverbank Hosting" in operator.get("/").text
    assert "help@riverbank.test" in client_for(alpha).get("/sign-in").text


def test_the_notice_stands_on_every_desk_until_it_is_emptied(alpha, beta, signed_in, change):
    member, other = signed_in(alpha), signed_in(beta)
    change(desk_notice="Planned work on Sunday <night>")
    for client in (member, other):
        assert "Planned work on Sunday &lt;night&gt;" in client.get("/desk/").text
    change(desk_notice="")
    assert "Planned work" not in member.get("/desk/").text


def test_new_sign_ins_last_as_long_as_is_set(alpha, client_for, change):
    change(session_hours="3")
    client = client_for(alpha)
    given = filled_in(client.get("/sign-in").text, email="owner@alpha.test", password="a long enough password")
    assert "Max-Age=10800" in client.post("/sign-in", data=given).headers["Set-Cookie"]


def test_a_plan_may_have_hours_of_its_own_until_they_are_emptied(alpha, client_for, operator, change):
    def lasts():
        client = client_for(alpha)
        given = filled_in(client.get("/sign-in").text, email="owner@alpha.test", password="a long enough password")
        cookie = client.post("/sign-in", data=given).headers["Set-Cookie"]
        return int(re.search(r"Max-Age=(\d+)", cookie).group(1)) // 3600

    assert lasts() == 168, "an owner's week"
    change(**{"standard-session_hours": "2", "premium-session_hours": "1"})
    assert lasts() == 2
    assert 'value="2"' in operator.get("/settings/").text
    change(**{"standard-session_hours": ""}, manager_session_hours="5")
    assert lasts() == 5


def test_operators_stay_signed_in_as_long_as_is_set_too(operator, change):
    change(session_hours="3")
    operator.post("/sign-out", data=filled_in(operator.get("/settings/").text))
    given = filled_in(operator.get("/sign-in").text, email="operator@platform.test", password="a long enough password")
    page = operator.get(operator.post("/sign-in", data=given).location).text
    given = filled_in(page, "code", code=second_factor("operator@platform.test", page))
    assert "Max-Age=10800" in operator.post("/sign-in/second", data=given).headers["Set-Cookie"]


def test_new_organisations_start_with_what_is_set(app, tenancy, operator, change):
    change(default_tier="premium", default_language="cy", default_time_zone="Europe/London")
    assert '<option selected value="premium">' in operator.get("/tenants/new").text
    with app.app_context():
        tenant = tenancy.lifecycle.create("gamma", "Gamma Gardeners")
        assert tenant.tier == "premium"
        with tenant_context(tenant, writes=False):
            site = current_site()
            assert (site.name, site.language, site.time_zone) == ("Gamma Gardeners", "cy", "Europe/London")


def test_the_number_of_people_is_held_to_the_plan(app, alpha, tenancy, change):
    change(**{"standard-users": "1"})
    with app.app_context(), tenant_context(tenancy.registry.by_slug("alpha")):
        with pytest.raises(QuotaExceeded) as refused:
            User.join("second@alpha.test", "Second")
    assert (refused.value.quota, refused.value.limit, refused.value.used) == ("users", 1, 1)


def test_the_storage_is_held_to_the_plan_and_reading_goes_on(app, alpha, tenancy, client_for, change):
    change(**{"standard-storage": "0.01"})
    tenant = tenancy.registry.by_slug("alpha")
    assert tenant.max_bytes == int(GIB * 0.01)
    with app.app_context(), tenant_context(tenant):
        with pytest.raises(QuotaExceeded):
            storage.put(b"x" * tenant.max_bytes)
    assert client_for(alpha).get("/").status_code == 200


def test_an_empty_quota_is_no_limit(alpha, tenancy, change):
    change(**{"standard-users": "", "standard-storage": ""})
    tenant = tenancy.registry.by_slug("alpha")
    assert (tenant.max_users, tenant.max_bytes) == (None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"session_hours": "0"},
        {"session_hours": "soon"},
        {"manager_idle_hours": ""},
        {"standard-idle_hours": "0"},
        {"default_time_zone": "Mars/Olympus"},
        {"default_tier": "golden"},
        {"support_address": "nobody"},
        {"platform_name": " "},
        {"standard-users": "-1"},
        {"standard-storage": "lots"},
    ],
)
def test_one_wrong_value_changes_nothing(tenancy, operator, change, wrong):
    answer = change(**({"platform_name": "New name"} | wrong))
    assert answer.status_code == 422
    assert "Please look at" in answer.text
    assert tenancy.registry.settings() == {}
