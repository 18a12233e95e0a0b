"""Whether a domain leads here: asked over a real connection, of the application itself."""

from __future__ import annotations

import json
import threading

import pytest
from werkzeug.serving import make_server

from app.ops import domains as leading
from tests.running import free_port

HOST = "alpha.localhost"


@pytest.fixture
def config(home, config_of):
    return config_of(home, PORT=str(free_port()))


@pytest.fixture
def serving(config):
    """Serve an application where the installation's addresses lead."""
    servers = []

    def serve(application):
        servers.append(make_server("127.0.0.1", config.port, application, threaded=True))
        threading.Thread(target=servers[0].serve_forever, daemon=True).start()

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_domain_that_leads_here_is_told_from_one_that_does_not(app, alpha, runner, serving):
    nobody = runner("domains", "verify", HOST)
    assert (nobody.exit_code, "did not answer" in nobody.stderr) == (1, True)
    serving(app)
    here = runner("domains", "verify", HOST, "--json")
    assert (here.exit_code, json.loads(here.stdout)["leads_here"]) == (0, True)
    assert {row["host"]: row["leads_here"] for row in json.loads(runner("domains", "list", "--json").stdout)} == {
        HOST: True,
        "beta.localhost": None,
    }


def test_who_repeats_an_answer_of_before_is_somebody_else(app, alpha, client_for, runner, serving):
    """It answers any question with what this installation said to another one, or under another name."""
    heard = client_for(alpha).get("/.well-known/freehold/" + "0" * 32).data
    assert len(heard) == leading.PROOF_BYTES

    def impostor(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(heard)))])
        return [heard]

    serving(impostor)
    answer = runner("domains", "verify", HOST)
    assert (answer.exit_code, "Something else answers" in answer.stderr) == (1, True)


def test_each_host_has_an_answer_of_its_own(app, alpha, beta, tenancy, client_for):
    tenancy.domains.add(alpha, "club.example")
    alpha_by = {host: tenancy.domains.proof(alpha.id, host, "x") for host in ("club.example", HOST)}
    assert client_for(alpha).get("/.well-known/freehold/x").text == alpha_by[HOST]
    assert len({*alpha_by.values(), tenancy.domains.proof(beta.id, HOST, "x")}) == 3


def test_who_is_paused_is_not_asked(alpha, tenancy, runner):
    tenancy.lifecycle.suspend("alpha", "late")
    assert runner("domains", "verify", HOST).exit_code == 2


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"])
def test_link_local_addresses_are_never_asked(address):
    from ipaddress import ip_address

    assert not leading._may_be_asked(ip_address(address))
    assert leading._may_be_asked(ip_address("192.168.1.7"))
