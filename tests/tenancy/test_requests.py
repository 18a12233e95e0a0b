import subprocess
import sys

import pytest
from sqlalchemy import select

from app.tenancy import db
from app.tenancy.context import current_scope
from app.tenancy.ledger import AuditRow


def get(app, host: str, path: str = "/", **headers: str):
    return app.test_client(use_cookies=False).get(path, headers={"Host": host, **headers})


@pytest.mark.parametrize("host", ["alpha.localhost", "ALPHA.localhost", "alpha.localhost:8000", "Alpha.LocalHost:80"])
def test_a_known_host_is_found_whatever_its_case_and_port(app, alpha, host):
    assert alpha.name in get(app, host).text


UNKNOWN = [
    "nobody.localhost",
    "alpha.localhost.evil",
    "alpha.localhost.",
    "xalpha.localhost",
    "alpha.localhost:80:80",
    "alpha.localhost, beta.localhost",
    "alpha.localhost/",
    "127.0.0.1",
    "[::1]:8000",
    "localhost",
    "*",
    "",
    "älpha.localhost",
    "xn--lpha-loa.localhost",
    "a" * 300 + ".localhost",
]


@pytest.mark.parametrize("host", UNKNOWN)
def test_an_unknown_host_gets_the_same_neutral_404_and_no_file_is_opened(app, tenancy, alpha, host):
    neutral = get(app, "nobody-at-all.localhost")
    answer = get(app, host, "/desk/settings/")
    assert answer.status_code == 404
    assert answer.data == neutral.data
    assert alpha.name not in answer.text
    assert dict(answer.headers) == dict(neutral.headers)
    assert tenancy.pool.counters.opens == 0


def test_two_host_headers_are_no_host(app, alpha):
    """WSGI servers join repeated headers with a comma, which names nobody."""
    assert get(app, "alpha.localhost,beta.localhost").status_code == 404


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-Host",
        "X-Original-Host",
        "Forwarded",
        "X-Host",
        "X-Forwarded-Server",
        "X-Http-Host-Override",
    ],
)
def test_forwarding_headers_change_nothing(app, alpha, beta, header):
    answer = get(
        app,
        "alpha.localhost",
        **{header: "host=beta.localhost" if header == "Forwarded" else "beta.localhost"},
    )
    assert alpha.name in answer.text
    assert beta.name not in answer.text


def test_a_tenant_header_confirms_but_never_chooses(app, tenancy, alpha, beta):
    """However often it comes and whatever it names, the ledger is not filled with it."""
    assert alpha.name in get(app, "alpha.localhost", **{"X-Tenant-Id": alpha.id}).text
    refused = get(app, "alpha.localhost", **{"X-Tenant-Id": beta.id})
    assert refused.status_code == 403
    assert beta.name not in refused.text
    for number in range(5):
        assert get(app, "alpha.localhost", **{"X-Tenant-Id": beta.id}).status_code == 403
        assert get(app, "alpha.localhost", **{"X-Tenant-Id": f"invented-{number}"}).status_code == 403
    with app.app_context():
        rows = db.session.scalars(select(AuditRow).where(AuditRow.kind == "tenant_mismatch")).all()
    assert [(row.tenant_id, row.other_tenant_id) for row in rows] == [(alpha.id, beta.id), (alpha.id, "")]


@pytest.mark.parametrize("number", [1 << 63, 10**30])
def test_a_number_that_no_file_could_hold_is_not_found(app, alpha, signed_in, number):
    for path in (f"/desk/content/entries/{number}", f"/desk/content/imports/{number}"):
        assert signed_in(alpha).get(path).status_code == 404
    assert signed_in(alpha).get(f"/desk/content/?undo={number}").status_code == 200


@pytest.mark.parametrize(
    ("verb", "status", "words"),
    [("suspend", 503, "paused"), ("archive", 410, "closed")],
)
def test_a_change_of_state_holds_from_the_next_request_on(app, tenancy, alpha, beta, verb, status, words):
    assert get(app, "alpha.localhost").status_code == 200
    getattr(tenancy.lifecycle, verb)("alpha", *(["unpaid"] if verb == "suspend" else []))
    answer = get(app, "alpha.localhost")
    assert answer.status_code == status
    assert words in answer.text
    assert "unpaid" not in answer.text
    assert get(app, "beta.localhost").status_code == 200
    tenancy.lifecycle.resume("alpha")
    assert get(app, "alpha.localhost").status_code == 200


def test_a_change_of_state_by_another_process_holds_from_the_next_request_on(app, home, alpha):
    assert get(app, "alpha.localhost").status_code == 200
    subprocess.run(
        [sys.executable, "-m", "app.cli", "tenants", "suspend", "alpha", "--reason", "late"],
        check=True,
        env={"FREEHOLD_HOME": str(home), "PATH": "/usr/bin:/bin"},
    )
    assert get(app, "alpha.localhost").status_code == 503


def test_a_sealed_tenant_asks_to_come_back(app, tenancy, alpha):
    with tenancy.placements.drained(alpha.id):
        answer = get(app, "alpha.localhost")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert 'http-equiv="refresh"' in answer.text
    assert get(app, "alpha.localhost").status_code == 200


def test_the_console_answers_on_the_platform_host_alone(app, alpha):
    assert get(app, "platform.localhost", "/tenants/").status_code in (200, 302)
    assert get(app, "alpha.localhost", "/tenants/").status_code == 404
    assert get(app, "platform.localhost", "/desk/").status_code == 404
    assert get(app, "platform.localhost", "/feed.xml").status_code == 404


def test_health_answers_on_any_host(app):
    assert get(app, "whatever.example", "/healthz").status_code == 200


def test_no_scope_outlives_its_request(app, alpha):
    get(app, "alpha.localhost")
    get(app, "alpha.localhost", "/no-such-page")
    assert current_scope() is None


def test_every_answer_is_hardened(app, alpha):
    for host in ("alpha.localhost", "platform.localhost", "nobody.localhost"):
        headers = get(app, host, "/sign-in").headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
