"""What a page has printed into its forms."""

from __future__ import annotations

from typing import Any

from lxml.html import fromstring


def filled_in(page: str, having: str = "csrf_token", **changes: Any) -> dict[str, Any]:
    """Return what a browser would send from the page's first form with a field `having`, after `changes`."""
    form = next(form for form in fromstring(page).forms if having in form.fields)
    return {name: value for name, value in form.form_values() if value is not None} | changes


def led_to(page: str, menu: str = "Settings") -> list[str]:
    """Return where the page's menu of that name leads."""
    return fromstring(page).xpath("//nav[@aria-label=$menu]//a/@href", menu=menu)


def printed_token(page: str) -> str:
    """Return the token that the page's first form carries."""
    return filled_in(page)["csrf_token"]
