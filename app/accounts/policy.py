"""Who may come in where: decorators for the doors behind which one must be signed in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from flask import abort, redirect, request
from flask_login import current_user
from werkzeug.wrappers import Response

from app.accounts.csrf import kept
from app.accounts.visits import UNSAFE

View = Callable[..., Any]


def member_required(view: View) -> View:
    """Ask visitors to sign in first, then bring them back."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs) if current_user.is_authenticated else ask_to_sign_in()

    return guarded


def owner_required(view: View) -> View:
    """Let only those in who decide about the organisation."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if not current_user.is_authenticated:
            return ask_to_sign_in()
        return view(*args, **kwargs) if current_user.is_owner else abort(403)

    return guarded


def ask_to_sign_in() -> Response:
    """Lead to the sign-in page; what was typed is handed back rather than lost."""
    if request.method in UNSAFE:
        return kept("You are no longer signed in, so nothing was changed.")
    return redirect("/sign-in?" + urlencode({"next": request.full_path.rstrip("?")}, safe="/"))


def is_local(path: str) -> bool:
    """Tell whether `path` leads to a page of this very house, however a browser may read it."""
    return path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
