"""The work of tokens for later."""

from __future__ import annotations

from app.api.models import Token
from app.tenancy.jobs import every


@every("H H(1-5) * * *", name="api.sweep")
def sweep() -> None:
    """Forget, every night, the tokens that have been over for a month."""
    Token.sweep()
