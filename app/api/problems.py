"""The codes that a problem under /api may have, with what they mean: the errors there are, by code."""

from __future__ import annotations

from typing import NamedTuple

from app.api.errors import (
    AlreadyExchanged,
    ForeignToken,
    QueryRefused,
    ScopeMissing,
    TokenExpired,
    TokenNeeded,
    TokenRefused,
)
from app.facilities.rates import LimitReached
from app.tenancy.errors import (
    DatabaseUnreadable,
    DiskFull,
    FreeholdError,
    PoolExhausted,
    QuotaExceeded,
    Refused,
    TenantBusy,
    TenantGone,
    TenantMismatch,
    TenantSuspended,
)


class Problem(NamedTuple):
    """One code, with which status it comes, and what it means."""

    code: str
    status: int
    meaning: str


_ERRORS: tuple[type[FreeholdError], ...] = (
    TokenNeeded,
    TokenRefused,
    TokenExpired,
    ForeignToken,
    TenantMismatch,
    ScopeMissing,
    AlreadyExchanged,
    QuotaExceeded,
    Refused,
    TenantGone,
    QueryRefused,
    LimitReached,
    TenantSuspended,
    TenantBusy,
    DatabaseUnreadable,
    PoolExhausted,
    DiskFull,
)
_OTHERS = (
    Problem("forbidden", 403, "The request came from a page of another site."),
    Problem("not_found", 404, "There is nothing at this address, or nothing that this token may see."),
    Problem("error", 500, "A mistake of ours. It is in the log of whoever runs this platform."),
)


def problems() -> list[Problem]:
    """Return them by code; where the words differ each time, the meaning is that of the error."""
    ours = (Problem(each.code, each.status, vars(each).get("advice") or each.__doc__ or "") for each in _ERRORS)
    return sorted([*ours, *_OTHERS])
