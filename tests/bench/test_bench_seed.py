from pathlib import Path

import pytest
from sqlalchemy import func, select

from app import Freehold
from app.content.models import Entry
from app.tenancy import Tenancy, db, names, tenant_context
from bench.seed import Journal, Made, Summary, seed
from bench.village import organisations, post_paths


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "seeded.jsonl")


@pytest.fixture
def sow(app: Freehold, journal: Journal):
    """Seed the first so many organisations, as the command does."""

    def run(count: int) -> list[Made | None]:
        with app.app_context():
            return list(seed(list(organisations(count)), journal, app.config["FREEHOLD"].tenants_data))

    return run


def test_ten_thousand_organisations_have_names_of_their_own():
    slugs = {organisation.slug for organisation in organisations(10_000)}
    assert len(slugs) == 10_000
    assert all(names.slug(slug) for slug in slugs)


def test_a_seeded_house_shows_its_posts_to_visitors(sow, app: Freehold):
    sow(2)
    for organisation in organisations(2):
        client = app.test_client()
        for path in ["/", *post_paths()]:
            answer = client.get(path, headers={"Host": f"{organisation.slug}.localhost"})
            assert answer.status_code == 200
            assert organisation.name in answer.text
            assert "$name" not in answer.text


def test_seeding_again_makes_only_what_is_missing(sow, journal: Journal, app: Freehold):
    first = sow(2)
    assert all(made and made.milliseconds and made.size for made in first)
    second = sow(3)
    assert second[:2] == [None, None]
    assert second[2] is not None
    assert list(journal.read()) == [organisation.slug for organisation in organisations(3)]


def test_a_house_left_half_made_is_completed(sow, app: Freehold, tenancy: Tenancy):
    (organisation,) = organisations(1)
    with app.app_context():
        hosts = (f"{organisation.slug}.localhost",)
        half = tenancy.lifecycle._reserve(organisation.slug, organisation.name, hosts, "", hidden=False)
    assert half.state == "provisioning"
    sow(1)
    with app.app_context():
        tenant = tenancy.registry.by_slug(organisation.slug)
        assert (tenant.id, tenant.state) == (half.id, "active")
        with tenant_context(tenant, writes=False):
            assert db.session.scalar(select(func.count()).select_from(Entry)) == 16


def test_a_house_made_just_before_a_kill_is_kept_though_its_time_is_unknown(sow, journal: Journal):
    sow(1)
    journal.path.write_text(journal.path.read_text()[:20])
    (made,) = sow(1)
    assert made is not None
    assert made.milliseconds is None
    assert list(journal.read()) == [made.slug]


def test_the_summary_sets_the_last_hundred_against_the_first():
    early, late = (10.0, 4.0), (20.0, 6.0)
    made = [Made(f"house-{number}", *(early if number < 100 else late), 4096) for number in range(200)]
    made[0] = Made("house-0", None, None, 4096)
    summary = Summary.of(made)
    assert (summary.first.median, summary.last.median, summary.growth) == (10.0, 20.0, 1.5)
    assert summary.bytes_per_tenant == 4096
