import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tenancy import names
from app.tenancy.errors import InvalidName


@pytest.mark.parametrize("slug", ["acme", "a1", "oak-street", "x" * 63])
def test_a_plain_slug_is_taken(slug: str):
    assert names.slug(slug) == slug


@pytest.mark.parametrize(
    "slug",
    [
        "",
        "a",
        "A",
        "1a",
        "-a",
        "a-",
        "a--b",
        "a_b",
        "a.b",
        "..",
        "../x",
        "a/b",
        "a b",
        "é",
        "аcme",
        "x" * 64,
        "www",
        "platform",
        "a\n",
    ],
)
def test_a_slug_that_is_no_label_or_reserved_is_refused(slug: str):
    with pytest.raises(InvalidName):
        names.slug(slug)


@pytest.mark.parametrize(
    ("given_name", "stored"),
    [
        ("Club.Example.ORG", "club.example.org"),
        ("club.example.org.", "club.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("日本ラジオ.example", "xn--kck1a0k438szlb.example"),
    ],
)
def test_a_host_is_stored_in_one_form(given_name: str, stored: str):
    assert names.host(given_name) == stored


@pytest.mark.parametrize(
    "host",
    [
        "",
        "single",
        "*.example.org",
        "192.168.0.1",
        "a..b",
        "-a.example",
        "a/b.example",
        "exa mple.org",
        "pаypal.example",
        "\uff58\uff4e\uff0d\uff0d\uff50\uff50\uff4c\uff45\uff0d\uff14\uff13\uff44.example",  # xn--pple-43d, in wide letters
        "x." * 130 + "org",
    ],
)
def test_a_host_that_is_none_or_a_look_alike_is_refused(host: str):
    with pytest.raises(InvalidName):
        names.host(host)


@pytest.mark.parametrize(
    ("header", "asked"),
    [
        ("acme.localhost", "acme.localhost"),
        ("ACME.localhost:8000", "acme.localhost"),
        ("acme.localhost.", "acme.localhost."),
        ("acme.localhost:80:80", "acme.localhost:80"),
        ("bücher.example", None),
        ("", None),
    ],
)
def test_a_host_header_loses_port_and_case_and_nothing_else(header: str, asked: str | None):
    assert names.request_host(header) == asked


@given(st.text())
def test_whatever_is_accepted_as_a_host_is_accepted_again(text: str):
    try:
        stored = names.host(text)
    except InvalidName:
        return
    assert names.host(stored) == stored
    assert names.request_host(stored) == stored
