"""What can go wrong in the tenancy core, each named, each saying what to do next.

`code` is stable for programs, `status` is the HTTP answer, `title` and `advice` are for people.
"""

from __future__ import annotations


class FreeholdError(Exception):
    """Base of all errors that have an answer of their own."""

    code = "error"
    status = 500
    title = "Something went wrong"
    advice = "Please try again in a moment."
    retry_after: int | None = None  # seconds

    @property
    def headers(self) -> dict[str, str]:
        """What the answer carries beside its page."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class NoTenant(FreeholdError):
    """Tenant data was touched outside a tenant context."""

    code = "no_tenant"

    def __init__(self, what: str = "This") -> None:
        super().__init__(
            f"{what} needs a tenant and none is current. In a request the host names it; anywhere else wrap the work in\n"
            "    with tenant_context(registry.by_slug('acme'), origin='command'): ..."
        )


class AlreadyBound(FreeholdError):
    """A second tenant was asked for inside a tenant context."""

    code = "already_bound"

    def __init__(self, current: str, asked: str) -> None:
        super().__init__(
            f"Tenant {current} is current, so {asked} cannot be entered here. Leave the first `with tenant_context` block, "
            "then enter the next; one context serves one tenant from beginning to end."
        )


class WrongTenant(FreeholdError):
    """A connection or an object of one tenant was used in the context of another."""

    code = "wrong_tenant"

    def __init__(self, what: str, owner: str, current: str) -> None:
        super().__init__(
            f"{what} belongs to tenant {owner}, and {current} is current. Load it again inside the context that uses it; "
            "nothing loaded in one tenant's context may be carried into another's."
        )


class TwoFiles(FreeholdError):
    """One transaction would write to two files, which cannot be committed together."""

    code = "two_files"

    def __init__(self, binds: set[str]) -> None:
        super().__init__(
            f"This flush writes to {' and '.join(sorted(binds))}. One transaction writes one file: commit the first, then "
            "write the second so that it can be repeated."
        )


class OpenLease(FreeholdError):
    """A tenant context ended while a connection was still out."""

    code = "open_lease"


class UnknownHost(FreeholdError):
    """No tenant answers to this host. The answer is the same for every name."""

    code = "unknown_host"
    status = 404
    title = "There is nothing here"
    advice = "Please check the address for a typing mistake."


class TenantSuspended(FreeholdError):
    """The operator has suspended the tenant."""

    code = "tenant_suspended"
    status = 503
    title = "This site is paused"
    advice = "If it is yours, please ask whoever runs this platform. Your data is kept."


class TenantGone(FreeholdError):
    """The tenant is archived or deleted."""

    code = "tenant_gone"
    status = 410
    title = "This site has been closed"
    advice = "It no longer answers at this address."


class TenantBusy(FreeholdError):
    """The tenant is being made, upgraded, moved or restored."""

    code = "tenant_busy"
    status = 503
    title = "Back in a moment"
    advice = "This site is being looked after. This page tries again by itself."
    retry_after = 5


class TenantCrowded(TenantBusy):
    """More requests of one tenant wait than it may have waiting; the others are served as ever."""

    code = "tenant_crowded"
    title = "Very busy right now"
    advice = "Many people are here at this moment. Please try again in a few seconds."


class TenantMismatch(FreeholdError):
    """A token or header names another tenant than the host does."""

    code = "tenant_mismatch"
    status = 403
    title = "This request names two organisations"
    advice = "Use the address of the organisation that the token or X-Tenant-Id belongs to, or leave the header out."


class DatabaseUnreadable(FreeholdError):
    """A tenant's file is missing, foreign, damaged, or its key does not fit. The others go on."""

    code = "database_unreadable"
    status = 503
    title = "This site cannot be shown right now"
    advice = "Whoever runs this platform has been told. Please try again later."
    retry_after = 60


class PoolExhausted(FreeholdError):
    """Every connection that this process may hold is in use."""

    code = "pool_exhausted"
    status = 503
    title = "Very busy right now"
    advice = "Please try again in a few seconds."
    retry_after = 2


class QuotaExceeded(FreeholdError):
    """The tenant has used what its tier allows of something."""

    code = "quota_exceeded"
    status = 403
    title = "There is no room left in your plan"

    def __init__(self, quota: str, limit: int, used: int, *, label: str = "", unit: str = "", after: str = "") -> None:
        self.quota, self.limit, self.used = quota, limit, used
        allowed, taken = in_words(limit, unit), in_words(used, "bytes" if unit == "bytes" else "")
        self.advice = f"{label or quota.capitalize()}: your plan allows {allowed}, and {taken} are taken. " + (
            after or "Remove something, or ask for a larger plan."
        )
        super().__init__(self.advice)


def in_words(amount: int, unit: str = "") -> str:
    """Return an amount as people read it: bytes as KiB, MiB…, everything else with its unit."""
    if unit != "bytes":
        return f"{amount:,} {unit}".strip()
    size, names = float(amount), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(names) > 1:
        size, names = size / 1024, names[1:]
    return f"{size:,.0f} bytes" if names[0] == "bytes" else f"{size:,.1f} {names[0]}"


class DiskFull(FreeholdError):
    """The machine has no room for what was to be written; reading goes on."""

    code = "disk_full"
    status = 507
    title = "This could not be saved"
    advice = "The machine has no room left. Nothing was lost but this change; please tell whoever runs this platform."


class InvalidName(FreeholdError):
    """A slug or host name that cannot be given to a tenant; the message says why."""

    code = "invalid_name"
    status = 422
    title = "This name cannot be used"

    def __init__(self, advice: str) -> None:
        self.advice = advice
        super().__init__(advice)


class Refused(FreeholdError):
    """An operation that is not possible in the present state; the message says why and what to do."""

    code = "refused"
    status = 409
    title = "That is not possible right now"

    def __init__(self, advice: str) -> None:
        self.advice = advice
        super().__init__(advice)


class CannotStart(FreeholdError):
    """The machine or the instance folder is not fit to start; the message says what to mend."""

    code = "cannot_start"
