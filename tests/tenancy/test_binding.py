import pytest
from flask_sqlalchemy.session import _app_ctx_id
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from app.content.models import Topic
from app.tenancy import current_tenant, db, tenant_context
from app.tenancy.binding import BoundSession, _session_scope
from app.tenancy.errors import NoTenant, TwoFiles, WrongTenant
from app.tenancy.registry import Setting


def add_topic(name: str) -> Topic:
    topic = Topic(slug=name, name=name)
    db.session.add(topic)
    db.session.commit()
    return topic


def test_outer_app_context_over_two_hosts(app, alpha, beta, client_for):
    with app.app_context():
        for tenant, other in ((alpha, beta), (beta, alpha), (alpha, beta)):
            page = client_for(tenant).get("/").text
            assert tenant.name in page
            assert other.name not in page


@pytest.mark.parametrize(("scope", "seen_by_beta"), [(_app_ctx_id, ["alpha"]), (_session_scope, ["beta"])])
def test_outer_app_context_shares_a_session_keyed_by_it(app, tenancy, alpha, beta, scope, seen_by_beta):
    """The trap and the guard: Flask-SQLAlchemy's key hands alpha's session to beta, ours does not, over equal engines."""
    with app.app_context():
        for tenant in (alpha, beta):
            with tenant_context(tenant):
                add_topic(tenant.slug)
        engine = create_engine(
            "sqlite+sqlcipher3://",
            creator=lambda: tenancy.placements.open_file(current_tenant().id),
            poolclass=NullPool,
        )
        sessions = scoped_session(sessionmaker(engine), scopefunc=scope)
        with tenant_context(alpha):
            assert sessions.scalars(select(Topic.name)).all() == ["alpha"]
            first = sessions()
        with tenant_context(beta):
            assert sessions.scalars(select(Topic.name)).all() == seen_by_beta
            sessions.remove()
        first.close()


def test_one_loop_over_two_tenants_sees_each_ones_rows(app, alpha, beta):
    with app.app_context():
        for tenant in (alpha, beta):
            with tenant_context(tenant):
                add_topic(tenant.slug)
        for tenant in (alpha, beta):
            with tenant_context(tenant):
                assert [topic.name for topic in db.session.scalars(select(Topic))] == [tenant.slug]


def test_a_session_does_not_serve_another_scope(app, alpha, beta):
    with app.app_context():
        with tenant_context(alpha):
            smuggled = db.session()
        with tenant_context(beta), pytest.raises(WrongTenant, match="Load it again"):
            smuggled.scalars(select(Topic)).all()


@pytest.mark.parametrize("way", ["add", "merge", "delete"])
def test_objects_of_one_tenant_are_refused_in_anothers_session(app, alpha, beta, way):
    with app.app_context():
        with tenant_context(alpha):
            foreign = add_topic("alpha")
        with tenant_context(beta):
            add_topic("beta")
            with pytest.raises(WrongTenant, match="Topic"):
                getattr(db.session, way)(foreign)


def test_a_loaded_object_is_stamped_too(app, alpha, beta):
    with app.app_context():
        with tenant_context(alpha):
            add_topic("alpha")
            db.session.expunge_all()
            foreign = db.session.scalars(select(Topic)).one()
        with tenant_context(beta), pytest.raises(WrongTenant):
            db.session.add(foreign)


def test_flush_refuses_a_foreign_object_even_when_attaching_let_it_in(app, alpha, beta):
    with app.app_context(), tenant_context(beta):
        planted = Topic(slug="x", name="x")
        db.session.add(planted)
        planted._tenant_id = alpha.id
        with pytest.raises(WrongTenant):
            db.session.flush()
        db.session.rollback()


def test_one_transaction_writes_one_file(app, alpha):
    with app.app_context(), tenant_context(alpha):
        db.session.add(Topic(slug="x", name="x"))
        db.session.add(Setting(name="x", value="x"))
        with pytest.raises(TwoFiles, match="registry and tenant"):
            db.session.commit()
        db.session.rollback()


def test_nothing_is_bound_to_a_default(app, alpha):
    with app.app_context(), tenant_context(alpha), pytest.raises(UnboundExecutionError):
        db.session.execute(text("SELECT 1"))


def test_a_bare_session_of_ours_has_no_tenant(app):
    with app.app_context(), pytest.raises(NoTenant):
        BoundSession(db).scalars(select(Topic)).all()
