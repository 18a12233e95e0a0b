"""Envelopes: who may make one, what is refused, and in which context a job runs."""

import copy
import json

import pytest

from app.tenancy import current_scope, db, jobs, tenancy
from app.tenancy.errors import AlreadyBound, NoTenant, TenantBusy, TenantGone, TenantSuspended
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
    def make(tenant, **arguments):
        with app.app_context(), in_tenant(tenant):
            return jobs.seal(jobs.find(see), arguments)

    return make


@pytest.fixture
def perform(app):
    def run(envelope):
        with app.app_context():
            jobs.perform(envelope)

    return run


def test_a_job_runs_in_the_context_of_the_tenant_that_sealed_it(envelope_of, perform, alpha, beta):
    for tenant in (alpha, beta):
        perform(json.loads(json.dumps(envelope_of(tenant, page=7))))
    assert [(alpha.id, "job", True, {"page": 7}), (beta.id, "job", True, {"page": 7})] == SEEN


def test_a_job_starts_from_an_empty_context_and_leaves_none(envelope_of, perform, in_tenant, alpha, beta):
    envelope = envelope_of(alpha)
    with in_tenant(beta) as scope:
        perform(envelope)
        assert current_scope() is scope
    assert SEEN[0][0] == alpha.id
    assert current_scope() is None


def test_no_envelope_is_sealed_without_a_tenant(app):
    with app.app_context(), pytest.raises(NoTenant):
        jobs.seal(jobs.find(see), {})


def _unsigned(envelope, other):
    del envelope["mac"]


def _no_mac(envelope, other):
    envelope["mac"] = ""


def _mac_of_another_tenant(envelope, other):
    envelope["mac"] = other["mac"]


def _sent_to_another_tenant(envelope, other):
    envelope["tenant"] = other["tenant"]


def _other_arguments(envelope, other):
    envelope["arguments"] = {"page": 8}


def _other_job(envelope, other):
    envelope["job"] = "os.system"


def _unknown_tenant(envelope, other):
    envelope["tenant"] = "f" * 32


def _tenant_is_the_registry(envelope, other):
    envelope["tenant"] = "registry"


def _field_too_many(envelope, other):
    envelope["also"] = 1


def _no_number(envelope, other):
    envelope["made_at"] = float("nan")


def _number_for_a_name(envelope, other):
    envelope["tenant"] = 5


def _not_ascii(envelope, other):
    envelope["mac"] = "é"


FORGERIES = [
    value
    for name, value in list(globals().items())
    if name.startswith("_")
    and callable(value)
    and getattr(value, "__code__", None)
    and value.__code__.co_varnames[:2] == ("envelope", "other")
]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forged_envelope_is_refused_and_not_run(envelope_of, perform, alpha, beta, forge):
    envelope, other = envelope_of(alpha, page=7), envelope_of(beta, page=7)
    forged = copy.deepcopy(envelope)
    forge(forged, other)
    with pytest.raises(jobs.EnvelopeRefused):
        perform(forged)
    assert SEEN == []
    perform(envelope)
    assert len(SEEN) == 1


@pytest.mark.parametrize("nonsense", [None, 5, [], {}, "os.system"])
def test_what_is_no_envelope_is_refused(perform, nonsense):
    with pytest.raises(jobs.EnvelopeRefused):
        perform(nonsense)


def test_a_signed_name_that_is_no_job_is_refused(app, in_tenant, perform, alpha):
    with app.app_context(), in_tenant(alpha):
        envelope = jobs.seal(jobs.Job("os.system", print, 1, 1), {})
    with pytest.raises(jobs.EnvelopeRefused, match="no job"):
        perform(envelope)


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
def test_a_tenant_that_is_not_active_does_not_run_jobs(app, envelope_of, perform, alpha, beta, change, error):
    envelopes = envelope_of(alpha), envelope_of(beta)
    with app.app_context():
        for name, value in change.items():
            setattr(db.session.get(Tenant, alpha.id), name, value)
        db.session.commit()
        assert tenancy.registry.by_id(alpha.id) is not None
    with pytest.raises(error):
        perform(envelopes[0])
    perform(envelopes[1])
    assert [tenant for tenant, *_ in SEEN] == [beta.id]


def test_a_job_cannot_enter_a_second_tenant(app, in_tenant, perform, alpha, beta):
    @jobs.job("test.stray")
    def stray():
        with in_tenant(beta):
            raise AssertionError("entered")

    with app.app_context(), in_tenant(alpha):
        envelope = jobs.seal(jobs.find("test.stray"), {})
    with pytest.raises(AlreadyBound):
        perform(envelope)


def test_arguments_that_json_cannot_say_are_refused_when_sealed(app, in_tenant, alpha):
    with app.app_context(), in_tenant(alpha), pytest.raises(TypeError):
        jobs.seal(jobs.find(see), {"page": object()})


def test_two_functions_cannot_share_a_name():
    with pytest.raises(ValueError, match=r"test\.see"):
        jobs.job("test.see")(lambda: None)


def test_an_unknown_job_says_how_to_make_one(app):
    with pytest.raises(jobs.UnknownJob, match="@job"):
        jobs.find("no.such")
