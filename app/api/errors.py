"""What programs are refused with, beside what everybody is."""

from __future__ import annotations

from app.tenancy import ResolvedTenant
from app.tenancy.errors import FreeholdError


class TokenNeeded(FreeholdError):
    """The request came without a token."""

    code = "token_needed"
    status = 401
    title = "A token is needed"
    advice = "Send one as `Authorization: Bearer …`. People make them on their profile, under Tokens."
    challenge = ""

    @property
    def headers(self) -> dict[str, str]:
        """What a 401 says: https://www.rfc-editor.org/rfc/rfc6750#section-3."""
        return {"WWW-Authenticate": "Bearer" + (f' error="{self.challenge}"' if self.challenge else "")}


class TokenRefused(TokenNeeded):
    """What came is no token of ours. Programs are told the same for one that is over; `kind` is what the audit calls it."""

    code = "token_refused"
    title = "This token is not good"
    advice = "It is not one of this organisation, has run out, or was ended. Ask for a new one."
    challenge = "invalid_token"
    kind = "token_forged"


class TokenOver(TokenRefused):
    """The token was ours, and is good no longer."""

    kind = "token_outlived"


class TokenExpired(TokenOver):
    """The short-lived token has run out."""

    code = "token_expired"
    title = "This token has run out"
    advice = "Exchange the token that it came from for a new one: POST /api/v1/token."


class MixedToken(TokenRefused):
    """The token names two organisations, which nothing of ours does."""

    kind = "foreign_token"

    def __init__(self, tenant: ResolvedTenant) -> None:
        self.tenant = tenant
        super().__init__(f"It names {tenant.slug} as well.")


class ForeignToken(MixedToken):
    """The token is one of another organisation."""

    code = "tenant_mismatch"
    status = 403
    title = "This token is of another organisation"
    advice = "Use the address of the organisation that the token belongs to."


class ScopeMissing(TokenNeeded):
    """The token is good, and not for this."""

    code = "scope_missing"
    status = 403
    title = "This token is not good for that"
    challenge = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.advice = f"It needs the scope {scope}. Make a token that has it."
        super().__init__(self.advice)

    @property
    def headers(self) -> dict[str, str]:
        """What it would need."""
        return {"WWW-Authenticate": f'Bearer error="{self.challenge}", scope="{self.scope}"'}


class AlreadyExchanged(TokenNeeded):
    """A short-lived token would be exchanged for a longer one."""

    code = "token_exchanged"
    status = 403
    title = "This token was exchanged already"
    advice = "Send the token that it came from."
    challenge = "insufficient_scope"


class QueryRefused(FreeholdError):
    """A parameter of the address is not what it can be; the message says which."""

    code = "query_refused"
    status = 422
    title = "This address cannot be answered"

    def __init__(self, advice: str) -> None:
        self.advice = advice
        super().__init__(advice)
