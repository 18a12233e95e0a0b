"""The owner's settings: what is changed there is seen by visitors, and in the registry."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image
from sqlalchemy import func, select

from app.accounts import User, hash_password
from app.branding import PRESETS, current_site, forms
from app.facilities.storage import StoredFile
from app.tenancy import db, tenant_context
from tests.conftest import sign_in
from tests.printed import filled_in, led_to

PASSWORD = "a long enough password"


@pytest.fixture
def owner(alpha, signed_in):
    return signed_in(alpha)


def save(client, **changes):
    page = client.get("/desk/settings/").text
    return client.post(
        "/desk/settings/", data=filled_in(page, "tagline", **changes), content_type="multipart/form-data"
    )


def look_of(app, tenant):
    with app.app_context(), tenant_context(tenant, writes=False):
        return current_site()


def picture(kind="PNG", size=(64, 64)):
    file = io.BytesIO()
    Image.new("RGB", size, "#1f6f5c").save(file, kind)
    file.seek(0)
    return file


def test_a_new_name_is_on_the_site_and_in_the_registry(alpha, beta, owner, client_for, tenancy):
    assert save(owner, name="Alpha Gardens", tagline="Earth & water").status_code == 303
    assert "Saved" in owner.get("/desk/settings/").text
    front = client_for(alpha).get("/").text
    assert "Alpha Gardens" in front
    assert "Earth &amp; water" in front
    assert tenancy.registry.by_slug("alpha").name == "Alpha Gardens"
    assert tenancy.registry.by_slug("beta").name == "Beta Brass Band"


def test_a_name_cut_short_on_its_way_to_the_registry_gets_there_with_the_next_save(app, alpha, owner, tenancy):
    with app.app_context(), tenant_context(alpha):
        from app.branding import Site

        Site.mine().rename("Alpha Gardens")
        db.session.commit()
    assert tenancy.registry.by_slug("alpha").name == "Alpha Allotments"
    save(owner)
    assert tenancy.registry.by_slug("alpha").name == "Alpha Gardens"


def test_language_and_time_zone_are_taken(app, alpha, owner, client_for):
    save(owner, language="ar", time_zone="Asia/Amman")
    look = look_of(app, alpha)
    assert (look.language, look.time_zone) == ("ar", "Asia/Amman")
    assert '<html lang="ar" dir="rtl"' in client_for(alpha).get("/").text


def test_a_preset_sets_both_colours(app, alpha, owner):
    save(owner, preset="brick", brand_colour="#000000")
    assert look_of(app, alpha).brand_colour == PRESETS["brick"].brand
    assert 'value="brick"' in owner.get("/desk/settings/").text.split("checked")[1][:200]


def test_own_colours_are_taken_as_they_are(app, alpha, owner):
    save(owner, preset="own", brand_colour="#AA2244", accent="#00ff00", scheme="dark")
    look = look_of(app, alpha)
    assert (look.brand_colour, look.accent, look.scheme) == ("#aa2244", "#00ff00", "dark")


def test_the_foot_of_every_page_is_written_in_markdown(alpha, owner, client_for):
    save(owner, footer="Open **daily** <script>alert(1)</script>")
    front = client_for(alpha).get("/").text
    assert "<strong>daily</strong>" in front
    assert "<script>alert" not in front
    assert "Open **daily**" in owner.get("/desk/settings/").text


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": " "},
        {"name": "x" * 200},
        {"language": "xx"},
        {"time_zone": "Mars/Olympus"},
        {"preset": "own", "brand_colour": "red;}"},
        {"preset": "golden"},
        {"scheme": "purple"},
    ],
)
def test_one_wrong_value_changes_nothing_and_what_was_typed_stays(app, alpha, owner, wrong):
    before = look_of(app, alpha)
    answer = save(owner, **({"tagline": "Typed with care"} | wrong))
    assert answer.status_code == 422
    assert "Typed with care" in answer.text
    assert look_of(app, alpha) == before


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_logo_is_shown_and_can_be_taken_away(app, alpha, owner, client_for, kind):
    assert save(owner, logo=(picture(kind), "logo.bin")).status_code == 303
    look = look_of(app, alpha)
    shown = client_for(alpha).get(look.logo_url)
    assert (shown.status_code, shown.mimetype) == (200, "image/png")
    save(owner, remove_logo="y")
    assert look_of(app, alpha).logo_name is None


@pytest.mark.parametrize(
    "data",
    [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"no picture", b"\x89PNG\r\n\x1a\n"],
)
def test_what_is_no_picture_is_refused(app, alpha, owner, data):
    assert save(owner, name="Other", logo=(io.BytesIO(data), "logo.png")).status_code == 422
    assert look_of(app, alpha).name == "Alpha Allotments"


def test_a_logo_larger_than_anybody_needs_is_refused(app, alpha, owner, monkeypatch):
    monkeypatch.setattr(forms, "LOGO_BYTES", 100)
    assert save(owner, logo=(picture(), "logo.png")).status_code == 422
    assert look_of(app, alpha).logo_name is None


def test_a_logo_that_the_plan_has_no_room_for_is_refused(app, alpha, owner, operator):
    page = operator.get("/settings/").text
    operator.post("/settings/", data=filled_in(page, "platform_name", **{"standard-storage": "0.01"}))
    with app.app_context(), tenant_context(replace(alpha, caps={})):
        db.session.add(StoredFile(name="0" * 64, wrapped_key=b"", size=11 << 20, mime="text/plain"))
        db.session.commit()
    answer = save(owner, logo=(picture(), "logo.png"))
    assert answer.status_code == 403
    assert "no room left" in answer.text
    with app.app_context(), tenant_context(alpha, writes=False):
        assert db.session.scalar(select(func.count()).select_from(StoredFile)) == 1


def test_every_page_of_the_settings_leads_to_all_of_them(owner):
    listed = led_to(owner.get("/desk/settings/").text)
    assert {f"/desk/settings/{each}" for each in ("", "use", "security/", "visits", "audit/", "backups/")} <= set(
        listed
    )
    for path in listed:
        page = owner.get(path)
        assert (page.status_code, led_to(page.text)) == (200, listed), path
        assert f'href="{path}" aria-current="page"' in page.text.partition('aria-label="Settings"')[2], path


def test_plan_and_use_are_shown(owner):
    page = owner.get("/desk/settings/use").text
    assert "Standard" in page
    assert "1 of 50" in page
    assert "of 10.0 GiB" in page
    assert "alpha.localhost" in owner.get("/desk/settings/domains/").text


def test_the_example_is_drawn_in_the_colours_asked_for(owner, client_for, alpha):
    drawn = owner.get("/desk/settings/example.svg", query_string={"brand": "#1f6f5c", "accent": "#e0a83e"})
    assert (drawn.status_code, drawn.mimetype) == (200, "image/svg+xml")
    assert "#1f6f5c" in drawn.text
    asked = {"brand": '"/><script>', "accent": "#e0a83e"}
    assert owner.get("/desk/settings/example.svg", query_string=asked).status_code == 404
    assert client_for(alpha).get("/desk/settings/example.svg").status_code == 302


def test_members_who_are_no_owners_do_not_decide(app, alpha, client_for):
    hashed = hash_password(PASSWORD)
    with app.app_context(), tenant_context(alpha):
        User.join("member@alpha.test", "Max", hashed=hashed)
        db.session.commit()
    client = client_for(alpha)
    sign_in(client, "member@alpha.test")
    assert client.get("/desk/").status_code == 200
    assert client.get("/desk/settings/").status_code == 404


def test_the_owner_of_one_house_changes_nothing_at_the_other(app, alpha, beta, owner):
    save(owner, name="Alpha Gardens", preset="heather")
    assert look_of(app, beta).name == "Beta Brass Band"
    assert look_of(app, beta).brand_colour != PRESETS["heather"].brand
