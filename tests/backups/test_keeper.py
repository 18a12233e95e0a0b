"""What the keeper does beside copying: keys that no copy needs any more are forgotten."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

from alembic import command
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from app.backups.restore import restore_as
from app.facilities import storage
from app.tenancy import rotation, utcnow
from app.tenancy.database import connect
from app.tenancy.lifecycle import STAMP
from app.tenancy.schema import alembic_config


def test_an_old_key_is_forgotten_with_the_last_copy_made_under_it(app, tenancy, keeper, alpha):
    keeper.copy(alpha.id)
    with app.app_context():
        rotation.rotate(tenancy, alpha)
    keeper.copy(alpha.id)
    keeper.thin(alpha.id, utcnow(), 92, 3)
    assert tenancy.keys.versions(alpha.id) == [1, 2], "a copy made under it is still kept"
    keeper.thin(alpha.id, utcnow() + timedelta(days=200), 92, 3)
    assert len(keeper.shelf(alpha.id).moments()) == 1
    assert tenancy.keys.versions(alpha.id) == [2]


def test_a_file_from_before_there_were_events_is_copied_and_comes_back_at_todays_schema(app, tenancy, keeper, alpha):
    """After an upgrade of the code the copies made before each file's own upgrade are the dearest ones."""
    behind(tenancy, alpha)
    copied = keeper.copy(alpha.id)
    assert copied.header.event_id == 0
    with app.app_context():
        made = restore_as(tenancy, alpha.id, keeper.shelf(alpha.id).newest(), "gamma", "Gamma")
    assert made.schema == tenancy.schema.head
    with closing(tenancy.placements.open_file(made.id)) as file:
        assert file.execute("SELECT count(*) FROM event").fetchone() == (0,)


def test_a_stored_file_is_copied_though_what_was_let_go_came_back_after_it(keeper, alpha, at):
    names = [at(alpha, lambda data=data: storage.put(data).name) for data in (b"other", b"same")]
    keeper.copy(alpha.id)

    def put_in_their_places() -> str:
        for name in names:
            storage.forget(name)
        added = storage.put(b"new").name
        storage.put(b"same")
        return added

    added = at(alpha, put_in_their_places)
    keeper.copy(alpha.id)
    assert added in keeper.shelf(alpha.id).files()


def behind(tenancy, tenant) -> None:
    """Give a tenant a file with the schema of the first release, which had no events."""
    tenancy.pool.discard(tenant.id)
    path = tenancy.placements.file(tenant.id)
    for leftover in path.parent.glob("main.sqlite3*"):
        leftover.unlink()
    with closing(connect(path, tenancy.keys.database_key(tenant.id), create=True)) as file:
        engine = create_engine("sqlite+sqlcipher3://", creator=lambda: file, poolclass=StaticPool)
        for revision in ("facilities_0001", "accounts_0001", "branding_0001", "content_0001"):
            config = alembic_config("tenant")
            with engine.begin() as bound:
                config.attributes["connection"] = bound
                command.upgrade(config, revision)
        file.execute(STAMP, (tenant.id, 1))
