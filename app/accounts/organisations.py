"""The letter that tells somebody at which organisations of this platform they may sign in."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from flask import current_app, render_template

from app.accounts import letters
from app.accounts.identities import tenants_of
from app.facilities import mail, settings
from app.tenancy import ResolvedTenant, tenancy, utcnow
from app.tenancy.jobs import job

NONCE_BYTES = 12
LENGTH = 1024  # bytes, which every address that the form takes has room in


@job("accounts.send_organisations", timeout=120)
def send_organisations(address: str) -> None:
    """Send the list to its person; the organisation whose job this is learns neither who it is nor where they belong."""
    box = urlsafe_b64decode(address)
    email = _cipher().decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], None).decode().strip()
    tenants = tenants_of(email)
    if tenants:
        letter = list_letter(email, tenants, secrets.token_hex(12))
        mail.send(letter.as_message(), letters.name_of(letter))


def sealed(email: str) -> str:
    """Return an address as it may lie in any organisation's file: of one length for all, and open to the platform alone."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return urlsafe_b64encode(nonce + _cipher().encrypt(nonce, email.encode().ljust(LENGTH), None)).decode()


def list_letter(email: str, tenants: list[ResolvedTenant], mark: str) -> mail.Letter:
    """Return the letter, which comes from the platform and is in no organisation's look; no other letter has its `mark`."""
    config = current_app.config["FREEHOLD"]
    places = [(tenant, f"{config.address(tenant.primary_host)}/sign-in") for tenant in tenants]
    sender = settings.text("support_address") or f"no-reply@{config.platform_host}"
    return mail.Letter(
        sender=mail.address(sender, settings.text("platform_name")),
        to=mail.address(email),
        subject="Where you can sign in",
        text=render_template("accounts/mail/organisations.txt", places=places),
        letter_id=f"<organisations.{mark}@{config.platform_host}>",
        date=utcnow(),
    )


def _cipher() -> AESGCM:
    return AESGCM(tenancy.keys.subkey("organisations"))
