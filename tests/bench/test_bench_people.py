from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from app import Freehold
from app.accounts import throttle
from app.config import Config
from app.tenancy import ResolvedTenant
from bench import people, talk
from bench.people import ATTACKS, OWNER, Browser, wrong_passwords
from bench.rows import EMPTY
from bench.seed import Journal, seed
from bench.village import organisations


@pytest.fixture
def port(app: Freehold) -> Iterator[int]:
    """Listen in this process."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_whoever_is_signed_in_for_the_benchmark_is_shown_an_empty_page_of_the_desk(
    app: Freehold, alpha: ResolvedTenant, client_for: Callable[[ResolvedTenant], FlaskClient]
):
    with app.app_context():
        (line,) = talk.sign_in(alpha, 1, "owner")
    host, cookie, _ = line.split()
    name, _, value = cookie.partition("=")
    browser = client_for(alpha)
    browser.set_cookie(name, value, domain=host)
    answer = browser.get(EMPTY[1][1])
    assert (host, answer.status_code) == (alpha.primary_host, 200)
    assert "Nobody is waiting" in answer.text
    assert "/desk/inbox/1" not in answer.text


@pytest.mark.parametrize(("attack", "tries"), [(ATTACKS[0], 20), (ATTACKS[1], throttle.NETWORK.most + 5)])
def test_a_flood_comes_from_many_places_is_counted_and_lets_the_owner_in(
    app: Freehold, alpha: ResolvedTenant, port: int, attack: people.Attack, tries: int
):
    with app.app_context():
        talk.sign_in(alpha, 1, "owner")
    owner = Browser(port, alpha.primary_host)
    assert owner.sign_in(OWNER, talk.PASSWORD) == 303
    with wrong_passwords(port, alpha.primary_host, attack, tries) as statuses:
        status = owner.sign_in(OWNER, talk.PASSWORD)
    assert status == 303
    assert statuses.total() >= tries
    assert set(statuses) <= {422, 429, 503}
    assert 0 < statuses[422] <= attack.most
    assert (statuses[429] > 0) == (attack.whose == OWNER), "no place is used up, each try has its own"


def test_slow_figures_are_told_and_fail_nothing():
    quick, slow = (people.Outcome(10, 1.0, 1.0, p95, p95, 0) for p95 in (5.0, 50.0))
    wave = people.Wave(people.Counter({422: 2_000, 500: 1}), slow, 429, 1.0)
    told = people.facts(ATTACKS[0], quick, wave)
    assert [fact.is_met for fact in told] == [False] * 3
    assert "2,000" in told[1].value


@pytest.mark.prove
def test_floods_of_a_small_installation_are_measured(app: Freehold, config: Config, tmp_path: Path):
    with app.app_context():
        list(seed(list(organisations(3)), Journal(tmp_path / "journal"), config.tenants_data))
    app.extensions["tenancy"].close()
    idle, waves = people.measure(people.Plan(config, 3, seconds=1), tmp_path, tries=20)
    assert idle.requests
    assert [wave.owner for wave in waves] == [303, 303]
    assert all(wave.statuses.total() >= 20 for wave in waves)
