"""Signed JSON holds a quarter of an hour, for one tenant, under one algorithm and one key; all else is refused and told."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from app.api import jwts
from app.tenancy import utcnow
from tests.api.programs import ask, code, exchanged, make, met, told


@pytest.fixture
def key(at, alpha):
    return make(at, alpha)


@pytest.fixture
def short(alpha, client_for, key):
    return exchanged(client_for(alpha), key)


@pytest.fixture
def forge(tenancy, alpha, short):
    """Sign what a good one claims, changed, under a tenant's true key, by default its own."""

    def make_one(by=alpha, header=None, without=(), **changes):
        claims = jwt.decode(short, options={"verify_signature": False}) | changes
        headers = {"kid": f"{by.id}.1", "typ": "at+jwt"} | (header or {})
        sound = {name: value for name, value in claims.items() if name not in without}
        return jwt.encode(sound, tenancy.keys.tenant_subkey(by.id, "api"), "HS256", headers)

    return make_one


def unsigned(header, claims, signature=b""):
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def test_a_good_one_is_believed_and_says_what_it_should(at, alpha, client_for, short, tenancy):
    assert ask(client_for(alpha), short).status_code == 200
    claims = jwt.decode(short, options={"verify_signature": False})
    assert (claims["tenant_id"], claims["aud"], claims["user_id"]) == (alpha.id, alpha.id, 1)
    assert (claims["roles"], claims["scopes"], claims["iss"]) == (
        ["owner"],
        ["members.read"],
        "http://platform.localhost:8000",
    )
    assert claims["exp"] - claims["iat"] == 15 * 60
    assert len(claims["jti"]) == 32
    assert jwt.get_unverified_header(short) == {"alg": "HS256", "kid": f"{alpha.id}.1", "typ": "at+jwt"}


def test_each_is_another_and_none_is_kept(alpha, client_for, key):
    answer = ask(client_for(alpha), key, "/api/v1/token", "POST")
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.json["token_type"] == "Bearer"
    assert answer.json["access_token"] != exchanged(client_for(alpha), key)


def test_one_is_not_exchanged_for_another(alpha, client_for, short):
    answer = ask(client_for(alpha), short, "/api/v1/token", "POST")
    assert (answer.status_code, code(answer)) == (403, "token_exchanged")


def test_the_end_of_its_token_ends_it(at, alpha, client_for, short):
    from app.accounts import User
    from app.api import Token
    from app.tenancy import db

    at(alpha, lambda: db.session.get(Token, 1).end(by=User.by_email("owner@alpha.test")))
    assert code(ask(client_for(alpha), short)) == "token_refused"


def test_it_runs_out_after_a_quarter_of_an_hour(app, at, alpha, client_for, short):
    with time_machine.travel(utcnow() + timedelta(minutes=15, seconds=1), tick=False):
        answer = ask(client_for(alpha), short)
        assert (answer.status_code, code(answer)) == (401, "token_expired")
        assert told(at, alpha) == ["token_outlived"]


def test_one_without_a_signature_is_refused(app, at, alpha, client_for, short):
    claims = jwt.decode(short, options={"verify_signature": False})
    for name in ("none", "None", "NONE", "nOnE", ""):
        header = {"alg": name, "typ": "at+jwt", "kid": f"{alpha.id}.1"}
        for signature in (b"", b"x" * 32):
            assert code(ask(client_for(alpha), unsigned(header, claims, signature))) == "token_refused"
    assert told(at, alpha) == ["token_forged"]


def test_one_signed_with_a_public_key_as_a_secret_or_by_another_algorithm_is_refused(
    app, at, tenancy, alpha, client_for, short
):
    claims = jwt.decode(short, options={"verify_signature": False})
    pair = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = pair.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    header = {"kid": f"{alpha.id}.1", "typ": "at+jwt"}
    own = tenancy.keys.tenant_subkey(alpha.id, "api")
    signing = jwt.api_jws.PyJWS()
    body = json.dumps(claims).encode()
    hs = jwt.get_algorithm_by_name("HS256")
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", **header}).encode()).rstrip(b"=")
    payload = base64.urlsafe_b64encode(body).rstrip(b"=")
    with_public = b".".join(
        (head, payload, base64.urlsafe_b64encode(hs.sign(head + b"." + payload, public)).rstrip(b"="))
    )
    tried = [
        with_public.decode(),
        signing.encode(body, pair, "RS256", header),
        signing.encode(body, own * 2, "HS512", header),
        signing.encode(body, own, "HS384", header),
    ]
    for text in tried:
        assert code(ask(client_for(alpha), text)) == "token_refused"
    assert told(at, alpha) == ["token_forged"]


KIDS = (
    *("../../../../dev/null", "/dev/null", "{id}/../{id}.1", "{id}.0", "{id}.01", "{id}.99", "{id}.1\n", "{id}.-1"),
    *("{id}.1' OR 1=1 --", "platform.1", "registry.1", "{id}:audit.1", "", None, ["{id}.1"], 7),
)


def test_a_kid_that_names_no_key_of_a_tenant_is_refused(at, tenancy, alpha, client_for, short):
    claims = jwt.decode(short, options={"verify_signature": False})
    hs = jwt.get_algorithm_by_name("HS256")
    for kid in KIDS:
        named = kid.format(id=alpha.id) if isinstance(kid, str) else kid
        header = {"alg": "HS256", "typ": "at+jwt", "kid": named}
        for secret in (b"", b"\0" * 32, tenancy.keys.tenant_subkey(alpha.id, "api")):
            signed = unsigned(header, claims).rpartition(".")[0]
            signature = base64.urlsafe_b64encode(hs.sign(signed.encode(), secret)).decode().rstrip("=")
            assert code(ask(client_for(alpha), f"{signed}.{signature}")) == "token_refused", kid
    assert told(at, alpha) == ["token_forged"]


def test_a_key_that_comes_in_the_header_is_not_looked_at(alpha, client_for, forge, tenancy, short):
    claims = jwt.decode(short, options={"verify_signature": False})
    jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(b"k" * 32).decode().rstrip("=")}
    header = {"kid": f"{alpha.id}.1", "typ": "at+jwt", "jwk": jwk, "jku": "https://elsewhere.test/keys"}
    assert code(ask(client_for(alpha), jwt.encode(claims, b"k" * 32, "HS256", header))) == "token_refused"
    assert ask(client_for(alpha), forge()).status_code == 200


def test_one_that_leaves_out_a_claim_is_refused(at, alpha, client_for, forge):
    for claim in jwts.CLAIMS:
        assert code(ask(client_for(alpha), forge(without=(claim,)))) == "token_refused", claim
    assert told(at, alpha) == ["token_forged"]


NOT_SO = (
    *({"aud": "nobody"}, {"aud": ["x"]}, {"tenant_id": 7}, {"iss": "https://elsewhere.test"}, {"sub": "person:2"}),
    *({"user_id": 2}, {"user_id": None}, {"roles": ["admin"]}, {"roles": "owner"}, {"client_id": "0" * 16}),
    *({"client_id": 1}, {"scopes": ["members.read", "members.details"]}, {"scopes": "members.read"}),
    *({"scopes": [["members.read"]]}, {"exp": "soon"}, {"iat": 99999999999}, {"nbf": 99999999999}),
)


def test_one_that_claims_what_is_not_so_is_refused_even_under_the_true_key(at, alpha, client_for, forge):
    assert ask(client_for(alpha), forge()).status_code == 200
    for changes in NOT_SO:
        assert code(ask(client_for(alpha), forge(**changes))) == "token_refused", changes
    assert code(ask(client_for(alpha), forge(exp=1))) == "token_expired"
    assert sorted(told(at, alpha)) == ["token_forged", "token_outlived"]


def test_a_header_that_is_none_is_refused(alpha, client_for):
    for header in ("[" * 5000, "{" * 3, '"x"', "7", "{}", "null", "\xff", '{"alg": ' + "9" * 5000 + "}"):
        head = base64.urlsafe_b64encode(header.encode("latin-1")).decode().rstrip("=")
        assert code(ask(client_for(alpha), f"{head}.e30.eA")) == "token_refused", header[:20]


def test_one_of_another_kind_is_refused(alpha, client_for, forge):
    for kind in ("JWT", "at+JWT ", None):
        assert code(ask(client_for(alpha), forge(header={"typ": kind}))) == "token_refused"


def test_one_of_alpha_at_beta_is_refused_and_told_on_both_sides(app, at, alpha, beta, client_for, short):
    make(at, beta)
    answer = ask(client_for(beta), short)
    assert (answer.status_code, code(answer)) == (403, "tenant_mismatch")
    assert alpha.id not in answer.text
    assert (told(at, beta), told(at, alpha)) == (["foreign_token"], ["token_abroad"])
    assert met(app) == [("foreign_token", beta.id, alpha.id)]


def test_one_of_alpha_that_has_run_out_is_foreign_at_beta_all_the_same(app, at, alpha, beta, client_for, short):
    with time_machine.travel(utcnow() + timedelta(hours=1), tick=False):
        assert code(ask(client_for(beta), short)) == "tenant_mismatch"
    assert met(app) == [("foreign_token", beta.id, alpha.id)]


def test_betas_claims_under_alphas_key_are_refused_at_both(app, at, alpha, beta, client_for, forge):
    text = forge(by=alpha, aud=beta.id, tenant_id=beta.id)
    for house in (alpha, beta):
        answer = ask(client_for(house), text)
        assert (answer.status_code, code(answer)) == (401, "token_refused")
    assert met(app) == [("foreign_token", alpha.id, beta.id), ("foreign_token", beta.id, alpha.id)]
    assert told(at, alpha) == ["foreign_token", "token_abroad"]
    assert told(at, beta) == ["token_abroad", "foreign_token"]


def test_betas_name_over_alphas_key_is_a_forgery(app, at, alpha, beta, client_for, forge):
    text = forge(by=alpha, header={"kid": f"{beta.id}.1"}, aud=beta.id, tenant_id=beta.id)
    assert code(ask(client_for(beta), text)) == "token_refused"
    assert (told(at, beta), told(at, alpha)) == (["token_forged"], [])


def test_a_claim_for_beta_alone_in_one_of_alpha_is_told_on_both_sides(app, at, alpha, beta, client_for, forge):
    for changes in ({"aud": beta.id}, {"tenant_id": beta.id}):
        assert code(ask(client_for(alpha), forge(**changes))) == "token_refused"
    assert met(app) == [("foreign_token", alpha.id, beta.id)]
