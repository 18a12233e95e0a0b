import json
import os
from pathlib import Path

import pytest
from flask import abort
from sqlalchemy import text

from app.content.models import Topic
from app.tenancy import db, tenant_context
from app.tenancy.errors import DiskFull, QuotaExceeded


@pytest.fixture
def trouble(app):
    """Add a page that fails in the way the address names."""

    def fail(how: str):
        if how == "crash":
            raise ZeroDivisionError("the secret of the house")
        if how == "quota":
            raise QuotaExceeded("users", 50, 50)
        abort(int(how))

    app.add_url_rule("/trouble/<how>", "trouble", fail)
    app.add_url_rule("/api/trouble/<how>", "api_trouble", fail)


def test_a_mistake_of_ours_shows_a_number_and_no_secret(trouble, alpha, client_for, caplog):
    answer = client_for(alpha).get("/trouble/crash")
    assert answer.status_code == 500
    assert "secret of the house" not in answer.text
    assert "Traceback" not in answer.text
    assert alpha.name in answer.text


@pytest.mark.parametrize(("how", "status"), [("404", 404), ("403", 403), ("405", 405), ("413", 413), ("quota", 403)])
def test_people_get_a_page_in_the_look_of_the_house(trouble, alpha, client_for, how, status):
    answer = client_for(alpha).get(f"/trouble/{how}")
    assert answer.status_code == status
    assert answer.mimetype == "text/html"
    assert alpha.name in answer.text
    assert answer.headers["Cache-Control"] in ("no-store", "private, no-store")


def test_programs_get_problem_details_with_a_stable_code(trouble, alpha, client_for):
    answer = client_for(alpha).get("/api/trouble/quota")
    assert answer.mimetype == "application/problem+json"
    problem = json.loads(answer.data)
    assert (problem["code"], problem["quota"], problem["limit"], problem["used"]) == ("quota_exceeded", "users", 50, 50)
    assert json.loads(client_for(alpha).get("/api/trouble/crash").data)["code"] == "error"


def test_a_full_house_is_told_so_and_nothing_is_half_written(app, tenancy, alpha):
    with tenancy.engines["registry"].begin() as registry:
        registry.execute(text("UPDATE tier_cap SET cap = 400000 WHERE tier = 'standard' AND meter = 'storage'"))
    small = tenancy.registry.by_slug("alpha")
    with app.app_context(), tenant_context(small):
        db.session.add_all(Topic(slug=f"t{number}", name="x" * 4000) for number in range(300))
        with pytest.raises(QuotaExceeded):
            db.session.commit()
        db.session.rollback()
        assert db.session.query(Topic).count() == 0


def test_a_full_disk_fails_one_request_and_the_house_goes_on(small_disk, app, tenancy, alpha, client_for):
    """On a real small file system: SQLITE_FULL rolls back, reads go on, and writes work again when there is room."""
    ballast = small_disk / "ballast"
    with app.app_context(), tenant_context(alpha):
        db.session.add(Topic(slug="before", name="before"))
        db.session.commit()
        with pytest.raises(OSError, match="No space"):
            fill(ballast)
        db.session.add_all(Topic(slug=f"t{number}", name="x" * 4000) for number in range(300))
        with pytest.raises(DiskFull):
            db.session.commit()
        db.session.rollback()
    assert client_for(alpha).get("/").status_code == 200
    ballast.unlink()
    with app.app_context(), tenant_context(alpha):
        db.session.add(Topic(slug="after", name="after"))
        db.session.commit()
        assert {topic.slug for topic in db.session.query(Topic)} == {"before", "after"}


def fill(path: Path) -> None:
    """Write until there is no room."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, bytes(4096))
    finally:
        os.close(descriptor)
