"""What every program may ask: who it is, a token for a short while, and what else there is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, Response, jsonify, make_response, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from app.api import jwts, openapi
from app.api.callers import caller
from app.api.errors import AlreadyExchanged
from app.api.members import Member
from app.api.parts import ROOT, Part, parts
from app.api.policy import scopes
from app.api.problems import problems
from app.tenancy import current_tenant, db

blueprint = Blueprint("api", __name__)
part = Part("tokens", "The token that a program asks with.")


@dataclass(frozen=True)
class Organisation:
    """The organisation whose address this is."""

    id: str
    name: str


@dataclass(frozen=True)
class Me:
    """Who asks. `member` is the token's person, null for a service."""

    organisation: Organisation
    token: str
    scopes: list[str]
    expires_at: datetime
    member: Member | None


@dataclass(frozen=True)
class AccessToken:
    """A short-lived token: JSON that is signed, and that other programs can be handed in place of the token it stands for."""

    access_token: str
    token_type: str
    expires_in: int
    scopes: list[str]


@part.get("/me", scope=None)
def me() -> Me:
    """Tell whose token this is, what it is good for and until when."""
    asking, tenant = caller(), current_tenant()
    return Me(
        Organisation(tenant.id, tenant.name),
        asking.token.name,
        asking.token.scopes,
        asking.token.expires_at,
        Member.of(asking.person) if asking.person else None,
    )


@part.post("/token", scope=None)
def exchange() -> AccessToken:
    """Exchange a token for one that is good for a quarter of an hour at most; it ends with the token it came from."""
    if caller().is_exchanged:
        raise AlreadyExchanged
    text, lifetime = jwts.issue(caller().token)
    db.session.commit()
    return AccessToken(text, "Bearer", int(lifetime.total_seconds()), caller().token.scopes)


@blueprint.get(f"{ROOT}/openapi.json")
def description() -> AnyResponse:
    """Describe everything, for programs."""
    return _shared(jsonify(openapi.description()))


@blueprint.get("/api/docs")
def docs() -> AnyResponse:
    """Describe everything, for people."""
    page = render_template(
        "api/docs.html", parts=parts(), scopes=scopes(), problems=problems(), root=ROOT, openapi=openapi
    )
    return _shared(make_response(page))


def _shared(response: Response) -> AnyResponse:
    """Let everybody keep an answer, who then asks whether it has changed."""
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    return response.make_conditional(request)
