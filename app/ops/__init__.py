"""What tells machines and operators how the platform is doing: `/healthz`, `/readyz` and `freehold health`."""

from flask import Flask

from app.ops import domains, views
from app.ops.activity import current_activity
from app.ops.health import trouble

__all__ = ["current_activity", "domains", "init_app", "trouble"]


def init_app(app: Flask) -> None:
    """Register the health pages on both sides of the URL map."""
    app.register_blueprint(views.blueprint)
    app.register_blueprint(domains.blueprint)
    app.register_blueprint(views.blueprint, subdomain="platform", name="platform_ops")
