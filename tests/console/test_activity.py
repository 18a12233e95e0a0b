"""The operators' page of what is going on, and a second try for what failed."""

import json
import time

import pytest

from app.serve.folders import make_folders
from app.tenancy import db, due, jobs, tenant_context, utcnow
from app.tenancy.ledger import TenantDue
from tests.printed import printed_token

SHOULD_FAIL = [True]


@jobs.job("test.grumble", tries=1)
def grumble():
    if SHOULD_FAIL[0]:
        raise ValueError("a private thing of the tenant")


@pytest.fixture
def failed(app, alpha, work):
    """Set one job of alpha aside, as several failures do, and let the ledger know it as the archivist does."""
    SHOULD_FAIL[0] = True
    with app.app_context(), tenant_context(alpha):
        jobs.later("test.grumble")
        db.session.commit()
    work(alpha)
    with app.app_context():
        db.session.add(TenantDue(tenant_id=alpha.id, waiting=3, oldest_at=utcnow(), set_aside=1))
        db.session.commit()


def rows(app, tenant):
    with app.app_context(), tenant_context(tenant, writes=False):
        return [
            (row.job, row.set_aside_at is not None, row.attempts) for row in db.session.scalars(due.select(due.Due))
        ]


def test_with_nothing_going_on_it_says_so_and_what_is_not_known(operator):
    page = operator.get("/activity/")
    assert page.status_code == 200
    assert "All quiet" in page.text
    assert "no news yet" in page.text
    assert "freehold run live" in page.text


def test_work_and_streams_are_shown_by_organisation_and_in_sum(app, config, operator, failed, alpha, beta):
    make_folders(config)
    report = {"at": time.time(), "streams": 1234, "by_tenant": {beta.id: 1234}, "rings": 5, "events": 6, "lag_p95": 12}
    (config.run / "live.json").write_text(json.dumps(report))
    page = operator.get("/activity/").text
    assert alpha.name in page
    assert beta.name in page
    assert "1,234" in page
    assert "12 ms" in page
    assert "private thing" not in page


def test_an_operator_lets_what_failed_try_again(app, operator, failed, alpha, work):
    page = operator.get("/tenants/alpha").text
    assert "Work that failed" in page
    answer = operator.post("/tenants/alpha/set-aside/retry", data={"csrf_token": printed_token(page)})
    assert answer.status_code == 303
    assert "1 job will be tried again" in operator.get(answer.location).text
    SHOULD_FAIL[0] = False
    assert work(alpha) >= 1
    assert rows(app, alpha) == []


def test_the_command_lists_what_failed_with_its_reason_and_tries_it_again(app, runner, failed, alpha, work):
    listed = json.loads(runner("jobs", "list", "alpha", "--json").output)
    (mine,) = [row for row in listed if row["job"] == "test.grumble"]
    assert (mine["state"], mine["attempts"], mine["error"]) == (
        "set aside",
        1,
        "ValueError: a private thing of the tenant",
    )
    assert "set aside" in runner("jobs", "list", "alpha").output
    assert runner("jobs", "retry", "alpha", "999").output.startswith("0 ")
    assert runner("jobs", "retry", "alpha", str(mine["id"])).output.startswith("1 ")
    SHOULD_FAIL[0] = False
    work(alpha)
    assert rows(app, alpha) == []
