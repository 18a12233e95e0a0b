"""How a module opens addresses to programs: a part, its operations, and for each the scope it needs and the shape it gives.

    part = Part("members", "Who is here.")

    @part.get("/members/<int:user_id>", scope=READ)
    def member(user_id: int) -> Member: ...

The shapes are dataclasses. Rule, scope, docstring and annotations are all there is: doors and description follow from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import cleandoc
from typing import Any, get_type_hints

from flask import Blueprint, Response

from app.api import answers, callers
from app.api.policy import Scope

ROOT = "/api/v1"

View = Callable[..., Any]


@dataclass(frozen=True)
class Operation:
    """One method at one address; `scope` is what a token must be good for, None where any token will do."""

    part: Part
    method: str
    rule: str
    scope: Scope | None
    view: View

    @property
    def name(self) -> str:
        """What programs call it."""
        return self.view.__name__

    @property
    def address(self) -> str:
        """The address as people read it, such as `/members/{user_id}`."""
        return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", self.rule)

    @property
    def parameters(self) -> dict[str, type]:
        """The parts of the address that vary, with their types."""
        hints = get_type_hints(self.view)
        return {name: hints[name] for name in re.findall(r"{(\w+)}", self.address)}

    @property
    def meaning(self) -> str:
        """What it does, in words."""
        return cleandoc(self.view.__doc__ or "")

    @property
    def shape(self) -> Any:
        """What it answers with."""
        return get_type_hints(self.view)["return"]


class Part:
    """The addresses of one module under /api/v1. Its blueprint is registered like any other."""

    def __init__(self, name: str, about: str) -> None:
        self.name = name
        self.about = about
        self.operations: list[Operation] = []
        self.blueprint = Blueprint(f"api_{name}", __name__, url_prefix=ROOT)
        self.blueprint.before_request(callers.identify)
        self.blueprint.after_request(answers.finish)
        _parts[name] = self

    def get(self, rule: str, *, scope: Scope | None) -> Callable[[View], View]:
        """Answer GET and HEAD at `rule` with what the view returns."""
        return lambda view: self._open("GET", rule, scope, view)

    def post(self, rule: str, *, scope: Scope | None) -> Callable[[View], View]:
        """Answer POST at `rule` with what the view returns; the view commits."""
        return lambda view: self._open("POST", rule, scope, view)

    def _open(self, method: str, rule: str, scope: Scope | None, view: View) -> View:
        @wraps(view)
        def guarded(**arguments: Any) -> Response:
            if scope:
                callers.require(scope)
            return answers.answer(view(**arguments))

        self.operations.append(Operation(self, method, rule, scope, view))
        self.blueprint.add_url_rule(rule, view.__name__, guarded, methods=[method])
        return view


_parts: dict[str, Part] = {}


def parts() -> tuple[Part, ...]:
    """Return every part, by name."""
    return tuple(_parts[name] for name in sorted(_parts))
