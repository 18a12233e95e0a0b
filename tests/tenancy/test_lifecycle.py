import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from sqlalchemy import text

from app.tenancy import tenant_context, utcnow
from app.tenancy.errors import DatabaseUnreadable, InvalidName, Refused


def test_a_new_tenant_is_active_with_file_key_and_domains(app, tenancy):
    with app.app_context():
        tenant = tenancy.lifecycle.create("gamma", "Gamma Guild", domains=("www.gamma.example",))
    assert (tenant.state, tenant.primary_host) == ("active", "www.gamma.example")
    assert tenant.hosts == ("www.gamma.example", "gamma.localhost")
    assert tenant.schema == tenancy.schema.head
    file = tenancy.placements.open_file(tenant.id)
    assert file.execute("SELECT tenant_id FROM stamp").fetchone() == (tenant.id,)
    file.close()


def test_each_tenant_has_a_key_of_its_own(tenancy, alpha, beta):
    assert tenancy.keys.database_key(alpha.id) != tenancy.keys.database_key(beta.id)


@pytest.mark.parametrize("slug", ["Alpha", "../x", "platform", "x" * 64])
def test_a_bad_slug_is_refused_and_leaves_nothing(app, tenancy, slug):
    with app.app_context(), pytest.raises(InvalidName):
        tenancy.lifecycle.create(slug, "X")
    assert len(list(tenancy.registry.tenants())) == 2


def test_a_taken_slug_or_domain_is_refused(app, tenancy, alpha):
    with app.app_context():
        with pytest.raises(Refused, match="taken"):
            tenancy.lifecycle.create("alpha", "Another")
        with pytest.raises(Refused, match="belongs to another"):
            tenancy.lifecycle.create("gamma", "Gamma", domains=("ALPHA.localhost",))
        with pytest.raises(InvalidName, match="platform's own"):
            tenancy.lifecycle.create("gamma", "Gamma", domains=("platform.localhost",))
    assert tenancy.registry.by_slug("gamma") is None


def test_a_failure_on_the_way_leaves_nothing_behind(app, tenancy, home):
    def fail() -> None:
        raise RuntimeError("no room")

    with app.app_context(), pytest.raises(RuntimeError):
        tenancy.lifecycle.create("gamma", "Gamma", furnish=fail)
    assert tenancy.registry.by_slug("gamma") is None
    assert len(list((home / "tenants_data").glob("*/*/main.sqlite3"))) == 2
    with app.app_context():
        assert tenancy.lifecycle.create("gamma", "Gamma").state == "active"


def test_a_disk_with_no_room_leaves_nothing_behind(small_disk, app, tenancy):
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    with app.app_context(), pytest.raises(Exception, match=r"full|I/O|space"):
        tenancy.lifecycle.create("gamma", "Gamma")
    assert tenancy.registry.by_slug("gamma") is None
    assert len(list(small_disk.glob("*/*/main.sqlite3"))) == 2
    ballast.unlink()
    with app.app_context():
        assert tenancy.lifecycle.create("gamma", "Gamma").state == "active"


def test_asked_again_after_a_cut_the_newest_wishes_hold(app, tenancy, monkeypatch):
    with app.app_context():
        with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
            cut.setattr(tenancy.lifecycle, "_activate", _interrupt)
            tenancy.lifecycle.create("gamma", "Gama", domains=("old.example",))
        tenant = tenancy.lifecycle.create("gamma", "Gamma", domains=("new.example",), tier="premium")
    assert (tenant.name, tenant.tier) == ("Gamma", "premium")
    assert tenant.hosts == ("new.example", "gamma.localhost")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


KILLED = textwrap.dedent(
    """
    import os, signal
    from app import create_app
    app = create_app()
    tenancy = app.extensions["tenancy"]

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    where = os.environ["DIE_AT"]
    if where == "furnish":
        furnish = die
    else:
        furnish = lambda: None
        setattr(tenancy.lifecycle, where, die)
    with app.app_context():
        tenancy.lifecycle.create("gamma", "Gamma Guild", furnish=furnish)
    """
)


@pytest.mark.parametrize("where", ["_build", "furnish", "_activate"])
def test_kill_9_half_way_and_again_leaves_no_half_made_tenant(app, tenancy, home, client_for, where):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED],
        check=False,
        env={**os.environ, "FREEHOLD_HOME": str(home), "DIE_AT": where},
    )
    assert killed.returncode == -signal.SIGKILL
    half = tenancy.registry.by_slug("gamma")
    assert half.state == "provisioning"
    assert client_for(half).get("/").status_code == 503

    with app.app_context():
        whole = tenancy.lifecycle.create("gamma", "Gamma Guild")
    assert (whole.id, whole.state) == (half.id, "active")
    assert client_for(whole).get("/").status_code == 200
    with tenant_context(whole), tenancy.engines["tenant"].connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM stamp")) == 1


def test_only_an_active_tenant_is_suspended(tenancy, alpha):
    tenancy.lifecycle.suspend("alpha", "late")
    with pytest.raises(Refused, match="suspended"):
        tenancy.lifecycle.suspend("alpha", "late")
    tenancy.lifecycle.archive("alpha")
    tenancy.lifecycle.resume("alpha")
    assert tenancy.registry.by_slug("alpha").state == "active"


MAKING = textwrap.dedent(
    """
    import sys
    from app import create_app
    app = create_app()
    with app.app_context():
        for number in range(int(sys.argv[1]), 100_000):
            app.extensions["tenancy"].lifecycle.create(f"house-{number}", f"House {number}")
            print(number, flush=True)
    """
)


def kill_and_complete(home, tenancy, app, rounds: int) -> None:
    """Kill a process that makes tenants at a moment of chance, complete what it left, and look at every house."""
    chance = random.Random(22)
    made = 0
    for _ in range(rounds):
        making = subprocess.Popen(
            [sys.executable, "-c", MAKING, str(made)],
            env={**os.environ, "FREEHOLD_HOME": str(home)},
            stdout=subprocess.PIPE,
            text=True,
        )
        making.stdout.readline()
        time.sleep(chance.random() * 0.2)
        making.kill()
        making.stdout.close()
        making.wait()
        with app.app_context():
            for half in list(tenancy.registry.tenants("provisioning")):
                tenancy.lifecycle.create(half.slug, half.name)
        # The registry says what was made: a house can be finished and its line never printed.
        made = sum(tenant.slug.startswith("house-") for tenant in tenancy.registry.tenants())
    houses = [tenant for tenant in tenancy.registry.tenants() if tenant.slug.startswith("house-")]
    assert len(houses) == made >= rounds
    for tenant in houses:
        assert tenant.state == "active"
        file = tenancy.placements.open_file(tenant.id)
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert file.execute("SELECT count(*) FROM entry").fetchone()[0] > 0
        file.close()


def test_kill_9_at_a_moment_of_chance_leaves_no_half_made_tenant(home, tenancy, app):
    kill_and_complete(home, tenancy, app, rounds=3)


@pytest.mark.prove
def test_hundreds_of_kills_leave_no_half_made_tenant(home, tenancy, app):
    kill_and_complete(home, tenancy, app, rounds=200)


# Adopted from a backup, and a preview thrown away.


def filled(tenancy) -> object:
    """Return what fills a tenant's folder as a restore does: with a finished file."""

    def fill(tenant) -> None:
        tenancy.lifecycle._build(tenant)

    return fill


def test_an_adopted_tenant_is_active_with_the_file_it_was_given(app, tenancy, alpha):
    with app.app_context():
        made = tenancy.lifecycle.adopt("gamma", "Gamma Guild", filled(tenancy), tier=alpha.tier)
    assert (made.state, made.tier, made.preview_of, made.schema) == ("active", alpha.tier, None, tenancy.schema.head)
    tenancy.placements.open(made).close()
    assert made.id in tenancy.registry.keeping()


def test_a_preview_is_hidden_names_whom_it_shows_and_has_nothing_sent_nor_kept(app, tenancy, alpha):
    at = utcnow()
    with app.app_context():
        made = tenancy.lifecycle.adopt("gamma", "G", filled(tenancy), preview_of=alpha.id, preview_at=at)
    assert (made.preview_of, made.preview_at, made.max_jobs) == (alpha.id, at, 0)
    assert made.id not in tenancy.registry.serving()
    assert made.id not in tenancy.registry.keeping()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_adoption_that_fails_leaves_nothing_behind(app, tenancy, alpha, home, error):
    def fail(tenant) -> None:
        tenancy.lifecycle._build(tenant)
        raise error

    with app.app_context(), pytest.raises(error):
        tenancy.lifecycle.adopt("gamma", "Gamma", fail, preview_of=alpha.id)
    assert tenancy.registry.by_slug("gamma") is None
    assert len(list((home / "tenants_data").glob("*/*"))) == 2
    assert tenancy.registry.resolve("gamma.localhost") is None
    with app.app_context():
        assert tenancy.lifecycle.adopt("gamma", "Gamma", filled(tenancy)).state == "active"


@pytest.mark.parametrize("how", ["adopt", "create"])
def test_an_adoption_cut_short_is_completed_by_asking_again_and_the_newest_wishes_hold(app, tenancy, alpha, how):
    child = os.fork()
    if not child:
        with app.app_context():
            tenancy.lifecycle.adopt("gamma", "G", lambda _: os.kill(os.getpid(), signal.SIGKILL), preview_of=alpha.id)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    half = tenancy.registry.by_slug("gamma")
    assert half.state == "provisioning"
    (tenancy.placements.folder(half.id) / "main.sqlite3.incoming").write_bytes(b"half")
    assert half.preview_of == alpha.id
    with app.app_context():
        if how == "adopt":
            made = tenancy.lifecycle.adopt("gamma", "Gamma", filled(tenancy))
        else:
            made = tenancy.lifecycle.create("gamma", "Gamma")
    assert (made.id, made.name, made.state) == (half.id, "Gamma", "active")
    assert (made.preview_of, made.preview_at) == (None, None), "it would be thrown away after three days"
    assert not list(tenancy.placements.folder(made.id).glob("*.incoming"))


def test_only_a_preview_is_thrown_away(app, tenancy, alpha):
    with pytest.raises(Refused, match="is no preview"):
        tenancy.lifecycle.discard(alpha)
    tenancy.placements.open(alpha).close()


def test_a_discarded_preview_is_gone_with_its_data_and_its_key_also_when_that_was_cut_short(
    app, tenancy, alpha, monkeypatch
):
    with app.app_context():
        made = tenancy.lifecycle.adopt("gamma", "G", filled(tenancy), preview_of=alpha.id, preview_at=utcnow())
    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(tenancy.keys, "destroy", _interrupt)
        tenancy.lifecycle.discard(made)
    assert tenancy.registry.resolve("gamma.localhost") is None
    assert tenancy.registry.by_id(made.id).state == "deleted"
    tenancy.lifecycle.discard(tenancy.registry.by_id(made.id))
    assert tenancy.registry.by_id(made.id) is None
    assert not tenancy.placements.folder(made.id).exists()
    with pytest.raises(DatabaseUnreadable):
        tenancy.keys.database_key(made.id)
