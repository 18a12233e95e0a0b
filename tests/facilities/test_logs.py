"""What a log line holds, and what it never holds."""

import json
import logging

import pytest
import structlog
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError, OperationalError

from app.content.models import Entry
from app.facilities import logs
from app.tenancy import db, tenant_context

SECRETS = ("password", "csrf_token", "Cookie", "api_key", "Authorization", "client_secret")


@pytest.fixture
def lines(capsys, app):
    """Have the lines of `app` written where the test can read them."""
    logs.configure("info")

    def read():
        return [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]

    return read


def test_a_request_leaves_one_line_with_tenant_and_request_id(lines, client_for, alpha, beta):
    client_for(alpha).get("/no-such-page?token=abc").close()
    client_for(beta).get("/no-such-page").close()
    ours = [line for line in lines() if line["event"] == "request_answered"]
    assert [line["tenant"] for line in ours] == [alpha.id, beta.id]
    assert len({line["request_id"] for line in ours}) == 2
    assert {(line["method"], line["path"], line["status"]) for line in ours} == {("GET", "/no-such-page", "404")}


def test_an_unknown_host_leaves_a_line_without_a_tenant(lines, app):
    app.test_client().get("/", headers={"Host": "nobody.example"}).close()
    (line,) = [line for line in lines() if line["event"] == "request_answered"]
    assert line["status"] == "404"
    assert "tenant" not in line


def test_the_token_of_a_set_up_link_stays_out_of_the_log(lines, client_for, alpha):
    client_for(alpha).get("/set-up/the-secret-of-the-link").close()
    written = lines()
    assert "the-secret-of-the-link" not in json.dumps(written)
    assert any("/set-up/<" in line.get("path", "") for line in written)


@pytest.mark.parametrize("name", SECRETS)
def test_a_value_that_is_named_like_a_secret_is_blanked(lines, name):
    structlog.get_logger("test").info("something_done", **{name: "hush", "detail": {name: "hush"}, "pages": 3})
    (line,) = lines()
    assert line[name] == logs.REDACTED
    assert line["detail"][name] == logs.REDACTED
    assert line["pages"] == 3


def test_a_library_speaks_through_the_same_chain_with_the_tenant(lines, in_tenant, alpha):
    with in_tenant(alpha):
        logging.getLogger("some.library").warning("it is %s", "late")
    (line,) = lines()
    assert (line["event"], line["logger"], line["tenant"]) == ("it is late", "some.library", alpha.id)


def test_a_statement_that_fails_says_nothing_of_its_values(app, alpha):
    with app.app_context(), tenant_context(alpha), pytest.raises(IntegrityError) as failure:
        db.session.execute(insert(Entry).values(title="told in confidence"))
    assert "told in confidence" not in str(failure.value)


def test_nor_does_a_statement_of_the_registry(app, tenancy):
    with tenancy.engines["registry"].connect() as registry, pytest.raises(OperationalError) as failure:
        registry.execute(text("SELECT :token FROM nowhere"), {"token": "told in confidence"})
    assert "told in confidence" not in str(failure.value)
