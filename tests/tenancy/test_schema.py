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


@pytest.mark.parametrize(
    ("tree", "metadata"),
    [("tenant", TenantModel.metadata), ("registry", RegistryModel.metadata), ("ledger", LedgerModel.metadata)],
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
                "include_object": lambda thing, name, kind, *_: not (kind == "table" and (name in ours or "_fts" in name)),
            },
        )
        assert compare_metadata(context, metadata) == []
    connection.close()


def test_every_owner_has_one_labelled_head():
    assert {head.rsplit("_", 1)[0] for head in heads("tenant")} >= {"tenancy", "accounts", "branding", "content", "facilities"}
    assert len(heads("registry")) == len(heads("ledger")) == 1


MIGRATION = '''
import sqlalchemy as sa
from alembic import op

revision = "trial_0002"
down_revision = "trial_0001"


def upgrade():
    with op.batch_alter_table("parent") as batch:
        batch.add_column(sa.Column("colour", sa.String, nullable=False, server_default="green"))
        batch.alter_column("name", new_column_name="name", existing_type=sa.String, nullable=False)
'''

FIRST = '''
from alembic import op

revision = "trial_0001"
down_revision = None
branch_labels = ("trial",)


def upgrade():
    op.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT)")
    op.execute("CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parent(id) ON DELETE CASCADE)")
    op.execute("CREATE VIRTUAL TABLE parent_fts USING fts5(name, content='parent', content_rowid='id')")
    op.execute("CREATE TRIGGER parent_ai AFTER INSERT ON parent BEGIN INSERT INTO parent_fts(rowid, name) VALUES (new.id, new.name); END")
    op.execute("CREATE TRIGGER parent_bu AFTER UPDATE ON parent BEGIN SELECT 1; END")
'''


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
