"""Envelopes: who may make one, what is refused, and in which context a job runs."""

import copy
import json
from contextvars import Context

import pytest
from sqlalchemy import select
from sqlalchemy.exc import StatementError

from app.tenancy import current_scope, db, due, jobs
from app.tenancy.due import Due
from app.tenancy.errors import NoTenant, TenantBusy, TenantGone, TenantSuspended
from app.tenancy.registry import Tenant

SEEN = []


@jobs.job("test.see")
def see(**arguments):
    scope = current_scope()
    SEEN.append((scope.tenant.id, scope.origin, scope.writes, arguments))


@pytest.fixture(autouse=True)
def _nothing_seen_yet():
    SEEN.clear()


@pytest.fixture
def envelope_of(app, in_tenant):
    """Ask for a job and return the envelope that points at its row."""

    def ask(tenant, name, arguments):
        with app.app_context(), in_tenant(tenant):
            row = due.add(name, arguments)
            db.session.commit()
            return jobs.seal(due.Reserved(row.id, row.job, row.attempts))

    return lambda tenant, name="test.see", **arguments: Context().run(ask, tenant, name, arguments)


@pytest.fixture
def row_of(app, in_tenant):
    def read(tenant, envelope):
        with app.app_context(), in_tenant(tenant, writes=False):
            return db.session.get(Due, envelope["due"])

    return lambda *given: Context().run(read, *given)


@pytest.fixture
def perform(app):
    def run(envelope):
        with app.app_context():
            return jobs.perform(envelope)

    return run


def test_a_job_runs_in_the_context_of_the_tenant_that_asked_for_it(envelope_of, perform, alpha, beta):
    for tenant in (alpha, beta):
        assert perform(json.loads(json.dumps(envelope_of(tenant, page=7)))) is True
    assert [(alpha.id, "job", True, {"page": 7}), (beta.id, "job", True, {"page": 7})] == SEEN


def test_a_job_starts_from_an_empty_context_and_leaves_none(envelope_of, perform, in_tenant, alpha, beta):
    envelope = envelope_of(alpha)
    with in_tenant(beta) as scope:
        perform(envelope)
        assert current_scope() is scope
    assert SEEN[0][0] == alpha.id
    assert current_scope() is None


def test_nothing_is_asked_for_or_sealed_without_a_tenant(app):
    with app.app_context():
        with pytest.raises(NoTenant):
            jobs.seal(due.Reserved(1, "test.see", 0))
        jobs.later("test.see")
        with pytest.raises(NoTenant):
            db.session.flush()
        db.session.rollback()


def test_an_envelope_says_where_to_look_and_nothing_of_what_is_there(envelope_of, alpha):
    assert set(envelope_of(alpha, secret="of alpha")) == {"tenant", "due", "attempt", "job", "mac"}


def _unsigned(envelope, other):
    del envelope["mac"]


def _no_mac(envelope, other):
    envelope["mac"] = ""


def _mac_is_a_number(envelope, other):
    envelope["mac"] = 5


def _mac_of_another_tenant(envelope, other):
    envelope["mac"] = other["mac"]


def _sent_to_another_tenant(envelope, other):
    envelope["tenant"] = other["tenant"]


def _another_row(envelope, other):
    envelope["due"] += 1


def _a_row_of_another_kind(envelope, other):
    envelope["due"] = True


def _another_attempt(envelope, other):
    envelope["attempt"] += 1


def _arguments_of_its_own(envelope, other):
    envelope["arguments"] = {"page": 8}


def _other_job(envelope, other):
    envelope["job"] = "os.system"


def _unknown_tenant(envelope, other):
    envelope["tenant"] = "f" * 32


def _tenant_is_the_registry(envelope, other):
    envelope["tenant"] = "registry"


def _tenant_is_a_path(envelope, other):
    envelope["tenant"] = f"../{envelope['tenant']}"


def _no_number(envelope, other):
    envelope["due"] = float("nan")


def _huge_number(envelope, other):
    envelope["due"] = 10**5000


def _number_for_a_name(envelope, other):
    envelope["tenant"] = 5


def _not_ascii(envelope, other):
    envelope["mac"] = "é"


def _not_even_text(envelope, other):
    envelope["mac"] = "\ud800"


def _a_tenant_that_is_not_even_text(envelope, other):
    envelope["tenant"] = "\ud800" * 32


FORGERIES = [
    value
    for name, value in list(globals().items())
    if name.startswith("_")
    and callable(value)
    and getattr(value, "__code__", None)
    and value.__code__.co_varnames[:2] == ("envelope", "other")
]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forged_envelope_is_refused_and_not_run(envelope_of, perform, row_of, alpha, beta, forge):
    envelope, other = envelope_of(alpha, page=7), envelope_of(beta, page=7)
    forged = copy.deepcopy(envelope)
    forge(forged, other)
    with pytest.raises(jobs.EnvelopeRefused):
        perform(forged)
    assert SEEN == []
    assert [row_of(alpha, envelope).attempts, row_of(beta, other).attempts] == [0, 0]
    assert perform(envelope) is True
    assert len(SEEN) == 1


@pytest.mark.parametrize("nonsense", [None, 5, [], {}, "os.system"])
def test_what_is_no_envelope_is_refused(perform, nonsense):
    with pytest.raises(jobs.EnvelopeRefused):
        perform(nonsense)


def test_an_envelope_runs_the_row_of_its_own_tenant_where_another_has_one_of_the_same_number(
    envelope_of, perform, row_of, alpha, beta
):
    mine, theirs = envelope_of(alpha, page=1), envelope_of(beta, page=2)
    assert mine["due"] == theirs["due"]
    perform(mine)
    assert [arguments for *_, arguments in SEEN] == [{"page": 1}]
    assert (row_of(alpha, mine), row_of(beta, theirs).attempts) == (None, 0)


def test_an_envelope_whose_row_is_done_runs_nothing_even_when_new_work_came(envelope_of, perform, alpha):
    old = envelope_of(alpha, page=1)
    perform(old)
    new = envelope_of(alpha, page=2)
    assert new["due"] > old["due"]  # numbers are never given twice
    assert perform(old) is False
    assert [arguments for *_, arguments in SEEN] == [{"page": 1}]


def test_a_row_that_names_no_job_is_set_aside_with_its_reason(envelope_of, perform, row_of, alpha):
    envelope = envelope_of(alpha, "os.system", command="true")
    assert perform(envelope) is True
    row = row_of(alpha, envelope)
    assert row.set_aside_at is not None
    assert "There is no job 'os.system'" in row.error


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"state": "suspended"}, TenantSuspended),
        ({"state": "provisioning"}, TenantBusy),
        ({"state": "archived"}, TenantGone),
        ({"state": "deleted"}, TenantGone),
        ({"placement": "sealed"}, TenantBusy),
    ],
)
def test_a_tenant_that_is_not_active_does_not_run_jobs(
    app, envelope_of, perform, row_of, tenancy, alpha, beta, change, error
):
    envelopes = envelope_of(alpha), envelope_of(beta)
    before = {name: getattr(tenancy.registry.by_id(alpha.id), name) for name in change}

    def put(values):
        with app.app_context():
            for name, value in values.items():
                setattr(db.session.get(Tenant, alpha.id), name, value)
            db.session.commit()

    put(change)
    with pytest.raises(error):
        perform(envelopes[0])
    perform(envelopes[1])
    assert [tenant for tenant, *_ in SEEN] == [beta.id]
    put(before)
    assert (row_of(alpha, envelopes[0]).attempts, row_of(alpha, envelopes[0]).error) == (0, "")


def test_a_job_cannot_enter_a_second_tenant(envelope_of, in_tenant, perform, row_of, alpha, beta):
    @jobs.job("test.stray")
    def stray():
        with in_tenant(beta):
            SEEN.append("entered")

    envelope = envelope_of(alpha, "test.stray")
    perform(envelope)
    assert SEEN == []
    assert row_of(alpha, envelope).error.startswith("AlreadyBound")


def test_the_failure_of_a_job_is_noted_in_its_row_and_not_raised(envelope_of, perform, row_of, alpha):
    @jobs.job("test.trip")
    def trip():
        raise LookupError("x" * 10_000)

    envelope = envelope_of(alpha, "test.trip")
    assert perform(envelope) is True
    row = row_of(alpha, envelope)
    assert row.error.startswith("LookupError: xxx")
    assert len(row.error) <= due.ERROR_LENGTH
    assert (row.attempts, row.set_aside_at) == (1, None)


def test_arguments_that_json_cannot_say_are_refused_when_asked(app, in_tenant, alpha):
    with app.app_context(), in_tenant(alpha):
        jobs.later("test.see", page=object())
        with pytest.raises(StatementError):
            db.session.commit()
        db.session.rollback()
        assert db.session.scalars(select(Due).where(Due.job == "test.see")).all() == []


def test_two_functions_cannot_share_a_name():
    with pytest.raises(ValueError, match=r"test\.see"):
        jobs.job("test.see")(lambda: None)


def test_two_functions_of_the_same_name_in_two_modules_cannot_share_one_either():
    def see_too():
        pass

    see_too.__qualname__, see_too.__module__ = see.__qualname__, "app.elsewhere"
    with pytest.raises(ValueError, match=r"test\.see"):
        jobs.job("test.see")(see_too)


def test_a_module_that_is_read_again_registers_the_same_job():
    def again():
        pass

    again.__qualname__, again.__module__ = see.__qualname__, see.__module__
    jobs.job("test.see")(again)
    assert [known.name for known in jobs.jobs()].count("test.see") == 1
    jobs.job("test.see")(see)


def test_an_unknown_job_says_how_to_make_one(app, in_tenant, alpha):
    with pytest.raises(jobs.UnknownJob, match="@job"):
        jobs.find("no.such")
    with app.app_context(), in_tenant(alpha), pytest.raises(jobs.UnknownJob):
        jobs.later("no.such")
