"""The health pages. They answer on any host, known or not, because a monitor asks by address."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request
from sqlalchemy.exc import SQLAlchemyError

from app.ops import activity, health

LOCAL = ("127.0.0.1", "::1")

blueprint = Blueprint("ops", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer that the process is alive; nothing is opened."""
    return _uncached(jsonify(status="alive"))


@blueprint.get("/readyz")
def readyz() -> Response:
    """Answer 200 when the platform is ready, else 503 naming what is not; the reasons go to those who may know them."""
    trouble = health.trouble()
    detail = {"failing": trouble, "activity": _figures()} if _may_know() else {"failing": sorted(trouble)}
    answer = jsonify(status="not ready" if trouble else "ready", **detail)
    answer.status_code = 503 if trouble else 200
    return _uncached(answer)


def _figures() -> dict[str, Any]:
    try:
        return activity.current_activity().figures()
    except SQLAlchemyError:
        return {}  # the lines about registry and ledger say it


def _may_know() -> bool:
    authorization = request.authorization
    token = authorization.token if authorization and authorization.type == "bearer" else None
    return request.remote_addr in LOCAL or (token is not None and health.is_token(token))


def _uncached(answer: Response) -> Response:
    answer.cache_control.no_store = True
    return answer
