import json
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from app.tenancy import LedgerModel, RegistryModel, TenantModel
from app.tenancy.database import connect
from app.tenancy.schema import MIGRATIONS, alembic_config, heads, migrate

KEY = bytes(32)


# Columns that the code of the last release still reads, to be dropped with the next one.
YESTERDAY = {("tier", "max_users"), ("tier", "max_bytes")}


@pytest.mark.parametrize(
    ("tree", "metadata"),
    [
        ("tenant", TenantModel.metadata),
        ("registry", RegistryModel.metadata),
        ("ledger", LedgerModel.metadata),
    ],
)
def test_migrations_make_what_the_models_say(app, tmp_path: Path, tree: str, metadata: sa.MetaData):
    connection = connect(tmp_path / "a.sqlite3", KEY, create=True)
    migrate(connection, tree)
    engine = create_engine("sqlite+sqlcipher3://", creator=lambda: connection, poolclass=StaticPool)
    ours = {"stamp", "alembic_version"}
    with engine.connect() as bound:
        context = MigrationContext.configure(
            bound,
            opts={
                "compare_type": False,
                "include_object": lambda thing, name, kind, *_: (
                    not (kind == "table" and (name in ours or "_fts" in name))
                ),
            },
        )
        different = compare_metadata(context, metadata)
        dropped = {(change[2], change[3].name) for change in different if change[0] == "remove_column"}
        assert len(dropped) == len(different)
        assert dropped <= YESTERDAY
    connection.close()


def test_every_owner_has_one_labelled_head():
    assert {head.rsplit("_", 1)[0] for head in heads("tenant")} >= {
        "tenancy",
        "accounts",
        "branding",
        "content",
        "facilities",
    }
    assert len(heads("registry")) == len(heads("ledger")) == 1


MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "trial_0002"
down_revision = "trial_0001"


def upgrade():
    with op.batch_alter_table("parent") as batch:
        batch.add_column(sa.Column("colour", sa.String, nullable=False, server_default="green"))
        batch.alter_column("name", new_column_name="name", existing_type=sa.String, nullable=False)
"""

FIRST = """
from alembic import op

revision = "trial_0001"
down_revision = None
branch_labels = ("trial",)


def upgrade():
    op.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT)")
    op.execute("CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parent(id) ON DELETE CASCADE)")
    op.execute("CREATE VIRTUAL TABLE parent_fts USING fts5(name, content='parent', content_rowid='id')")
    op.execute(
        "CREATE TRIGGER parent_ai AFTER INSERT ON parent "
        "BEGIN INSERT INTO parent_fts(rowid, name) VALUES (new.id, new.name); END"
    )
    op.execute("CREATE TRIGGER parent_bu AFTER UPDATE ON parent BEGIN SELECT 1; END")
"""


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    tree = tmp_path / "migrations" / "trial"
    tree.mkdir(parents=True)
    (tmp_path / "migrations" / "env.py").write_text((MIGRATIONS / "env.py").read_text())
    (tree / "0001.py").write_text(FIRST)
    return tree


@pytest.fixture
def full_file(trial: Path, tmp_path: Path):
    """A file with parents, children, a search table and triggers, one migration behind."""
    connection = connect(tmp_path / "full.sqlite3", KEY, create=True)
    migrate(connection, "trial", trial.parent)
    connection.executemany("INSERT INTO parent (id, name) VALUES (?, ?)", [(n, f"name {n}") for n in range(1, 101)])
    connection.executemany("INSERT INTO child (parent_id) VALUES (?)", [(n % 100 + 1,) for n in range(500)])
    (trial / "0002.py").write_text(MIGRATION)
    yield connection
    connection.close()


def counts(connection) -> dict[str, int]:
    return {
        "parents": connection.execute("SELECT count(*) FROM parent").fetchone()[0],
        "children": connection.execute("SELECT count(*) FROM child").fetchone()[0],
        "found": connection.execute("SELECT count(*) FROM parent_fts WHERE parent_fts MATCH 'name'").fetchone()[0],
        "triggers": connection.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'").fetchone()[0],
    }


def test_a_batch_migration_on_a_full_file_keeps_children_and_triggers(full_file, trial):
    before = counts(full_file)
    assert before == {"parents": 100, "children": 500, "found": 100, "triggers": 2}
    migrate(full_file, "trial", trial.parent)
    assert counts(full_file) == before
    assert full_file.execute("SELECT DISTINCT colour FROM parent").fetchall() == [("green",)]
    assert full_file.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_batch_migration_on_a_full_file_empties_it_with_the_guards_out(full_file, trial):
    """The trap: the same migration by alembic alone, over a connection with our usual pragmas."""
    engine = create_engine("sqlite+sqlcipher3://", creator=lambda: full_file, poolclass=StaticPool)
    with engine.begin() as bound:
        config = alembic_config("trial", trial.parent)
        config.attributes["connection"] = bound
        command.upgrade(config, "heads")
    after = counts(full_file)
    assert after["children"] == 0
    assert after["triggers"] == 0


def fall_behind(tenancy, tenant) -> None:
    """Make a tenant look as if an older release had made it."""
    with tenancy.engines["registry"].begin() as registry:
        registry.execute(sa.text("UPDATE tenant SET schema = 'older' WHERE id = :id"), {"id": tenant.id})


def wait_for(answered, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not answered():
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.1)


def test_a_file_behind_the_code_is_upgraded_at_first_use(app, tenancy, alpha, beta, client_for, monkeypatch):
    monkeypatch.setenv("FREEHOLD_HOME", str(tenancy.config.home))
    fall_behind(tenancy, alpha)
    answer = client_for(alpha).get("/")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert client_for(beta).get("/").status_code == 200
    wait_for(lambda: client_for(alpha).get("/").status_code == 200)
    wait_for(lambda: tenancy.schema._upgrades[alpha.id][1].poll() is not None)
    assert tenancy.registry.by_slug("alpha").schema == tenancy.schema.head


def test_a_failing_tenant_is_parked_and_the_others_serve(app, tenancy, alpha, beta, client_for, runner):
    for tenant in (alpha, beta):
        fall_behind(tenancy, tenant)
    file = tenancy.placements.open_file(alpha.id)
    file.execute("UPDATE alembic_version SET version_num = 'from_a_fork' WHERE version_num LIKE 'content%'")
    file.close()
    result = runner("migrate", "--tenant", "alpha", "--json")
    assert result.exit_code == 1
    assert "alpha" in result.output
    assert runner("migrate", "--tenant", "beta", "--json").exit_code == 0
    assert client_for(alpha).get("/").status_code == 503
    assert client_for(beta).get("/").status_code == 200
    reported = runner("migrate", "--status", "--json")
    assert reported.exit_code == 0, reported.exception
    status = json.loads(reported.stdout)
    assert (status["current"], status["behind"]) == (1, 1)
    assert status["parked"][0]["tenant"] == "alpha"
    assert "from_a_fork" in status["parked"][0]["error"]


def test_many_are_upgraded_side_by_side_in_processes(app, tenancy, alpha, beta, runner):
    for tenant in (alpha, beta):
        fall_behind(tenancy, tenant)
    result = runner("migrate", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"upgraded": 2, "parked": []}


def test_a_failed_migration_leaves_the_file_as_it_was(full_file, trial):
    (trial / "0002.py").write_text(MIGRATION + '    op.execute("INSERT INTO nowhere VALUES (1)")\n')
    before = counts(full_file)
    with pytest.raises(sa.exc.OperationalError):
        migrate(full_file, "trial", trial.parent)
    assert counts(full_file) == before
    assert "colour" not in str(full_file.execute("SELECT sql FROM sqlite_schema WHERE name = 'parent'").fetchall())


def test_the_check_over_all_tenants_opens_no_file(app, tenancy, alpha, beta, runner):
    for tenant in (alpha, beta):
        tenancy.placements.file(tenant.id).unlink()
    assert json.loads(runner("migrate", "--json").stdout) == {"upgraded": 0, "parked": []}
    assert tenancy.pool.counters.opens == 0


def test_a_new_tenant_replays_no_history(app, tenancy, monkeypatch):
    tenancy.schema.prepared().close()
    monkeypatch.setattr(command, "upgrade", lambda *_: pytest.fail("history was replayed"))
    with app.app_context():
        assert tenancy.lifecycle.create("gamma", "Gamma").schema == tenancy.schema.head
