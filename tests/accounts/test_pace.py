"""What the people of one organisation change in a minute is held to a number, and never counts against another."""

from __future__ import annotations

import pytest

from app.facilities import settings
from app.tenancy import db
from tests.printed import filled_in


@pytest.fixture
def three_a_minute(app):
    with app.app_context():
        settings.put({"changes_a_minute:standard": "3"})
        db.session.commit()


def change(browser):
    """Save one's own name, as the profile's form does."""
    page = browser.get("/desk/profile/").text
    return browser.post("/desk/profile/name", data=filled_in(page, "name", name="Olive"))


def test_changes_above_the_plan_are_refused_and_those_of_another_are_not(three_a_minute, signed_in, alpha, beta):
    olive, other = signed_in(alpha), signed_in(beta)
    assert [change(olive).status_code < 400 for _ in range(4)] == [True, True, True, False]
    refused = change(olive)
    assert refused.status_code == 429
    assert refused.headers["RateLimit-Policy"] == '"changes";q=3;w=60'
    assert refused.headers["RateLimit"].startswith('"changes";r=0;t=')
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert "Alpha Allotments" in refused.text
    assert olive.get("/desk/profile/").status_code == 200
    assert change(other).status_code < 400


def test_strangers_use_up_nothing(three_a_minute, app, client_for, signed_in, alpha):
    stranger = client_for(alpha)
    for _ in range(10):
        stranger.post("/desk/profile/name", data={"name": "Mallory"})
    assert change(signed_in(alpha)).status_code < 400
