"""Slugs and host names: what may be given to a tenant, and the one form in which a host is looked up."""

from __future__ import annotations

import re
import unicodedata

import idna

from app.tenancy.errors import InvalidName

RESERVED = frozenset(
    "admin api app assets autoconfig autodiscover cdn console dns files ftp help imap live localhost mail mx ns ns1 ns2 "
    "operator platform pop postmaster public registry root sign-in smtp static status support system test tenant tenants "
    "webmail www".split()
)
_SLUG = re.compile(r"[a-z](?:[a-z0-9]|-(?!-)){0,61}[a-z0-9]")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PORT = re.compile(r":\d{1,5}$")


def slug(text: str) -> str:
    """Return `text` if it can be a tenant's slug; raises `InvalidName`. A slug is one DNS label (RFC 1035) of ours."""
    if not _SLUG.fullmatch(text):
        raise InvalidName(
            f"{text!r} cannot be a short name: use 2 to 63 letters a to z, digits and single hyphens, beginning with a letter."
        )
    if text in RESERVED:
        raise InvalidName(f"{text!r} is kept for the platform itself; choose another short name.")
    return text


def host(text: str) -> str:
    """Return the host name in the form in which it is stored: lower case, IDNA 2008 (RFC 5891) A-labels.

    Raises `InvalidName` for addresses, single labels, wildcards, and labels that mix scripts so as to look like another.
    """
    name = text.strip().rstrip(".").lower()
    try:
        ascii_name = idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        raise InvalidName(f"{text!r} is not a host name; give one such as club.example.org.") from None
    labels = ascii_name.split(".")
    if len(ascii_name) > 253 or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidName(f"{text!r} is not a host name; give one such as club.example.org.")
    if labels[-1].isdigit():
        raise InvalidName(f"{text!r} is an address; give a host name such as club.example.org.")
    for label in labels:
        _refuse_mixed_scripts(text, idna.decode(label) if label.startswith("xn--") else label)
    return ascii_name


def _refuse_mixed_scripts(text: str, label: str) -> None:
    scripts = {unicodedata.name(letter, "?").split()[0] for letter in label if letter.isalpha()}
    # Japanese mixes its scripts in honest names (UTS 39, highly restrictive profile).
    if len(scripts - {"CJK", "HIRAGANA", "KATAKANA"}) + bool(scripts & {"CJK", "HIRAGANA", "KATAKANA"}) > 1:
        raise InvalidName(
            f"{text!r} mixes alphabets and could be taken for another name; use one alphabet in each part."
        )


def request_host(header: str) -> str | None:
    """Return the host that a Host header names, without port, ready for look-up; None when it cannot be one of ours.

    Case is folded (RFC 9110 section 4.2.3). A trailing dot or a non-ASCII byte is another name, and not ours.
    """
    name = _PORT.sub("", header).lower()
    return name if name.isascii() and 0 < len(name) <= 253 else None
