"""Passkeys (https://www.w3.org/TR/webauthn-3/): what a browser is asked, and whether its answer is good.

A passkey belongs to the host at which it was made and works at no other, so that no false page can make use of it.
"""

from __future__ import annotations

import json
from typing import Any

from flask import current_app, request
from webauthn import (
    base64url_to_bytes,
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import bytes_to_base64url, options_to_json_dict
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from app.accounts.cookies import sign
from app.accounts.visits import house

BAD = (
    WebAuthnException,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)  # what the library says of answers that are none


def host() -> str:
    """Return the host that passkeys belong to here."""
    return request.host.partition(":")[0]


def question(factors: list[Any], challenge: str) -> dict[str, Any]:
    """Return what to ask a browser in which one of these passkeys may be."""
    mine = [_named(each) for each in factors if each.host == host()]
    asked = generate_authentication_options(
        rp_id=host(),
        challenge=base64url_to_bytes(challenge),
        allow_credentials=mine,
        user_verification=UserVerificationRequirement.PREFERRED,
    )
    return options_to_json_dict(asked)


def invitation(person: Any, factors: list[Any], challenge: str, issuer: str) -> dict[str, Any]:
    """Return what to ask a browser in which a passkey is to be made, other than those there are."""
    asked = generate_registration_options(
        rp_id=host(),
        rp_name=issuer,
        user_id=bytes.fromhex(sign("passkey-person", f"{house()}.{person.id}")),
        user_name=person.email,
        user_display_name=person.name,
        challenge=base64url_to_bytes(challenge),
        exclude_credentials=[_named(each) for each in factors if each.host == host()],
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.PREFERRED
        ),
    )
    return options_to_json_dict(asked)


def checked_answer(answer: str, challenge: str, factor: Any) -> int | None:
    """Return how often the passkey says that it has signed when the answer is its own, else None."""
    try:
        checked = verify_authentication_response(
            credential=json.loads(answer),
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=host(),
            expected_origin=_origin(),
            credential_public_key=base64url_to_bytes(factor.public_key),
            credential_current_sign_count=factor.signatures,
        )
    except BAD:
        return None
    return checked.new_sign_count


def checked_new(answer: str, challenge: str) -> dict[str, Any] | None:
    """Return what is kept of a new passkey when the answer is good, else None."""
    try:
        checked = verify_registration_response(
            credential=json.loads(answer),
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=host(),
            expected_origin=_origin(),
        )
    except BAD:
        return None
    return {
        "credential": bytes_to_base64url(checked.credential_id),
        "public_key": bytes_to_base64url(checked.credential_public_key),
        "signatures": checked.sign_count,
    }


def _named(factor: Any) -> PublicKeyCredentialDescriptor:
    return PublicKeyCredentialDescriptor(id=base64url_to_bytes(factor.credential))


def _origin() -> str:
    return current_app.config["FREEHOLD"].address(host())
