import json
import re

import pytest


def test_create_prints_the_address_and_a_one_time_link_for_the_owner(runner, tenancy, client_for):
    result = runner("tenants", "create", "gamma", "--name", "Gamma Guild", "--owner", "gail@gamma.test")
    assert result.exit_code == 0, result.output
    assert "Gamma Guild answers at http://gamma.localhost:8000" in result.stdout
    link = re.search(r"http://gamma\.localhost:8000(/set-up/\S+)", result.stdout).group(1)
    browser = client_for(tenancy.registry.by_slug("gamma"))
    assert browser.get(link).status_code == 200


def test_what_a_command_makes_is_closed_to_the_other_users_of_the_machine(runner, tenancy):
    runner("tenants", "create", "gamma", "--name", "Gamma Guild", "--owner", "gail@gamma.test")
    folder = tenancy.placements.folder(tenancy.registry.by_slug("gamma").id)
    made = [folder, *folder.iterdir()]
    assert [oct(path.stat().st_mode & 0o077) for path in made] == ["0o0"] * len(made)


def test_create_takes_the_owners_password_from_standard_input(runner, tenancy, client_for):
    result = runner(
        "tenants", "create", "gamma", "--name", "Gamma", "--owner", "gail@gamma.test", "--owner-password-stdin",
        "--json", input="a long enough password\n",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["set_up_link"] == ""
    assert "a long enough password" not in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "alpha", "--name", "Again"], "taken"),
        (["create", "../x", "--name", "X"], "cannot be a short name"),
        (["create", "gamma", "--name", "X", "--domain", "alpha.localhost"], "belongs to another tenant"),
        (["create", "gamma", "--name", "X", "--domain", "1.2.3.4"], "is an address"),
        (["create", "gamma", "--name", "X", "--tier", "gold"], "no tier 'gold'"),
        (["create", "gamma", "--name", "X", "--owner", "nobody"], "not an e-mail address"),
        (["show", "nobody"], "no tenant 'nobody'"),
        (["suspend", "nobody", "--reason", "x"], "no tenant 'nobody'"),
        (["resume", "alpha"], "this needs one that is"),
        (["archive", "alpha"], "give --yes"),
    ],
)
def test_what_is_refused_ends_with_exit_code_2_and_says_why(runner, tenancy, alpha, arguments, says):
    result = runner("tenants", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert tenancy.registry.by_slug("gamma") is None
    assert tenancy.registry.by_slug("alpha").state == "active"


def test_list_and_show_speak_json(runner, alpha, beta):
    listed = json.loads(runner("tenants", "list", "--json").stdout)
    assert [tenant["slug"] for tenant in listed] == ["alpha", "beta"]
    shown = json.loads(runner("tenants", "show", "alpha", "--json").stdout)
    assert shown["id"] == alpha.id
    assert shown["state"] == "active"
    assert shown["domains"] == ["alpha.localhost"]
    assert shown["counts"]["users"] == 1
    assert {"pages", "posts", "files", "bytes"} <= set(shown["counts"])


def test_show_reads_well_on_a_terminal(runner, alpha):
    shown = runner("tenants", "show", "alpha").stdout
    assert "domains        alpha.localhost" in shown
    assert "1 users" in shown
    assert "10,240.0 Mi" in shown
    assert "{" not in shown


def test_list_by_state(runner, tenancy, alpha, beta):
    assert runner("tenants", "suspend", "beta", "--reason", "late").exit_code == 0
    assert "beta" not in runner("tenants", "list", "--state", "active").stdout
    assert "beta" in runner("tenants", "list", "--state", "suspended").stdout
    assert runner("tenants", "resume", "beta").exit_code == 0
    assert runner("tenants", "archive", "beta", "--yes").exit_code == 0
    assert tenancy.registry.by_slug("beta").state == "archived"


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("alpha.localhost", "opens, and carries this tenant's stamp"),
        ("alpha", "opens, and carries this tenant's stamp"),
        ("http://alpha.localhost:8000/posts/", "opens, and carries this tenant's stamp"),
        ("platform.localhost", "the console"),
        ("nobody.localhost", "404, the same for every unknown name"),
    ],
)
def test_explain_traces_what_a_request_would_meet(runner, alpha, host, says):
    steps = json.loads(runner("tenants", "explain", host, "--json").stdout)
    assert steps[-1]["finding"] == says


def test_explain_names_what_is_wrong_with_a_file(runner, tenancy, alpha):
    tenancy.placements.file(alpha.id).write_bytes(b"broken" * 1000)
    assert "damaged" in runner("tenants", "explain", "alpha.localhost").stdout
    assert "unreadable" in runner("tenants", "show", "alpha").stdout


def test_domains_are_listed_with_their_tenants(runner, alpha, beta):
    listed = json.loads(runner("domains", "list", "--json").stdout)
    assert {row["host"]: row["tenant"] for row in listed} == {"alpha.localhost": "alpha", "beta.localhost": "beta"}


def test_a_dry_run_of_migrate_changes_nothing(runner, tenancy, alpha):
    assert json.loads(runner("migrate", "--dry-run", "--json").stdout) == []
