"""The walk: every route, job and command as the wrong tenant, with equal ids on both sides.

A route, job or command that nobody has classified fails here. Add it to its table below with what it may show to whom.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from datetime import timedelta

import click
import pytest
from sqlalchemy import select
from werkzeug.routing import Rule

from app import create_app
from app.accounts import Invitation, Role, User
from app.api import Token
from app.chat import Room
from app.cli import main
from app.content.models import Entry, Import, Media, MenuItem, Topic
from app.facilities import events
from app.facilities.audit import Audit
from app.inbox import Contact, Conversation
from app.tenancy import db, due, tenant_context, utcnow
from app.tenancy.jobs import EnvelopeRefused, jobs, perform, seal
from app.tenancy.ledger import AuditRow
from tests.conftest import PASSWORD, Browser, sign_in
from tests.content.wxr import export, item

PUBLIC, MEMBER, OPERATOR, NEUTRAL, STREAM = "public", "member", "operator", "neutral", "stream"
PROGRAM = "program"

ROUTES = {
    "static": NEUTRAL,
    "platform_static": NEUTRAL,
    "ops.healthz": NEUTRAL,
    "ops.readyz": NEUTRAL,
    "platform_ops.healthz": NEUTRAL,
    "platform_ops.readyz": NEUTRAL,
    "accounts.sign_in": PUBLIC,
    "accounts.signing_in": PUBLIC,
    "accounts.sign_out": PUBLIC,
    "accounts.set_up": PUBLIC,
    "accounts.ask_for_help": PUBLIC,
    "accounts.help_sent": PUBLIC,
    "accounts.invitation": PUBLIC,
    "second.second": PUBLIC,
    "second.app": PUBLIC,
    "second.passkey": PUBLIC,
    "second.again": MEMBER,
    "by_letter.ask": PUBLIC,
    "by_letter.sent": PUBLIC,
    "by_letter.link": PUBLIC,
    "security.show": MEMBER,
    "security.begin_app": MEMBER,
    "security.new_app": MEMBER,
    "security.new_passkey": MEMBER,
    "security.keep_passkey": MEMBER,
    "security.passkey_options": MEMBER,
    "security.new_codes": MEMBER,
    "security.remove": MEMBER,
    "sign_in_rules.show": MEMBER,
    "sign_in_rules.decide": MEMBER,
    "people.people": MEMBER,
    "people.new_invitation": MEMBER,
    "people.invite": MEMBER,
    "people.send_again": MEMBER,
    "people.withdraw": MEMBER,
    "people.person": MEMBER,
    "people.give_role": MEMBER,
    "people.deactivate": MEMBER,
    "people.reactivate": MEMBER,
    "people.remove": MEMBER,
    "roles.show": MEMBER,
    "roles.new_role": MEMBER,
    "roles.role": MEMBER,
    "roles.remove": MEMBER,
    "profile.show": MEMBER,
    "profile.rename": MEMBER,
    "profile.show_picture": MEMBER,
    "profile.remove_picture": MEMBER,
    "profile.read_in": MEMBER,
    "pictures.picture": MEMBER,
    "profile.change_password": MEMBER,
    "profile.end_device": MEMBER,
    "profile.end_others": MEMBER,
    "profile.leave": MEMBER,
    "api.docs": PUBLIC,
    "api.description": NEUTRAL,
    "api_tokens.me": PROGRAM,
    "api_tokens.exchange": PROGRAM,
    "api_members.members": PROGRAM,
    "api_members.member": PROGRAM,
    "tokens_desk.own": MEMBER,
    "tokens_desk.make_own": MEMBER,
    "tokens_desk.end_own": MEMBER,
    "tokens_desk.everybodys": MEMBER,
    "tokens_desk.make_for_service": MEMBER,
    "tokens_desk.end_anybodys": MEMBER,
    "branding.theme": PUBLIC,
    "branding.monogram": PUBLIC,
    "branding.logo": PUBLIC,
    "content_site.home": PUBLIC,
    "content_site.posts": PUBLIC,
    "content_site.post": PUBLIC,
    "content_site.topic": PUBLIC,
    "content_site.feed": PUBLIC,
    "content_site.sitemap": PUBLIC,
    "content_site.robots": PUBLIC,
    "content_site.any_page": PUBLIC,
    "content_site.file": PUBLIC,
    "content_site.contact": PUBLIC,
    "content_site.contact_with_slash": PUBLIC,
    "content_site.send": PUBLIC,
    "content_site.thanks": PUBLIC,
    "live.stream": STREAM,
    "desk.home": MEMBER,
    "settings.show": MEMBER,
    "settings.use": MEMBER,
    "domains.prove": PUBLIC,
    "domains_desk.show": MEMBER,
    "settings.save": MEMBER,
    "settings.example": MEMBER,
    "accounts.look": PUBLIC,
    "audit_desk.show": MEMBER,
    "audit_desk.download": MEMBER,
    "backups_preview.end_preview": MEMBER,
    "backups_desk.show": MEMBER,
    "backups_desk.look_at": MEMBER,
    "backups_desk.replace": MEMBER,
    "backups_desk.order": MEMBER,
    "backups_desk.open_preview": MEMBER,
    "backups_desk.discard": MEMBER,
    "backups_desk.things": MEMBER,
    "backups_desk.bring_back": MEMBER,
    "content_desk.entries": MEMBER,
    "content_desk.new_entry": MEMBER,
    "content_desk.entry": MEMBER,
    "content_desk.preview": MEMBER,
    "content_desk.publish": MEMBER,
    "content_desk.unpublish": MEMBER,
    "content_desk.trash": MEMBER,
    "content_desk.restore": MEMBER,
    "content_desk.imports": MEMBER,
    "content_desk.start_import": MEMBER,
    "content_desk.show_import": MEMBER,
    "content_desk.menu": MEMBER,
    "content_desk.add_line": MEMBER,
    "content_desk.rename_line": MEMBER,
    "content_desk.move_line": MEMBER,
    "content_desk.remove_line": MEMBER,
    "inbox_desk.conversations": MEMBER,
    "inbox_desk.conversation": MEMBER,
    "inbox_desk.reply": MEMBER,
    "inbox_desk.note": MEMBER,
    "inbox_desk.assign": MEMBER,
    "inbox_desk.close": MEMBER,
    "inbox_desk.reopen": MEMBER,
    "inbox_desk.mark_spam": MEMBER,
    "inbox_desk.send_again": MEMBER,
    "chat_desk.rooms": MEMBER,
    "chat_desk.room": MEMBER,
    "chat_desk.new_room": MEMBER,
    "chat_desk.read": MEMBER,
    "chat_desk.invite": MEMBER,
    "chat_desk.remove_member": MEMBER,
    "chat_desk.say": MEMBER,
    "chat_desk.line": MEMBER,
    "chat_desk.remove_line": MEMBER,
    "console_second.second": NEUTRAL,
    "console_second.app": NEUTRAL,
    "console_second.passkey": NEUTRAL,
    "console_second.again": NEUTRAL,
    "console.sign_in": NEUTRAL,
    "console.signing_in": NEUTRAL,
    "console.sign_out": NEUTRAL,
    "console.overview": OPERATOR,
    "console.tenants_list": OPERATOR,
    "console.new_tenant": OPERATOR,
    "console.tenant": OPERATOR,
    "console.suspend": OPERATOR,
    "console.resume": OPERATOR,
    "console.archive": OPERATOR,
    "console.tenant_domains": OPERATOR,
    "console.add_domain": OPERATOR,
    "console.look_at_domain": OPERATOR,
    "console.make_domain_primary": OPERATOR,
    "console.remove_domain": OPERATOR,
    "console.retry": OPERATOR,
    "console.set_cap": OPERATOR,
    "console.end_cap": OPERATOR,
    "console.activity": OPERATOR,
    "console.backups_list": OPERATOR,
    "console.tenant_backups": OPERATOR,
    "console.copy_now": OPERATOR,
    "console.prove_now": OPERATOR,
    "console.look_at_moment": OPERATOR,
    "console.go_back": OPERATOR,
    "console.backup_order": OPERATOR,
    "console.open_preview": OPERATOR,
    "console.discard_preview": OPERATOR,
    "console.platform_settings": OPERATOR,
    "console.operators_list": OPERATOR,
    "console.add_operator": OPERATOR,
    "console.give_operator_role": OPERATOR,
    "console.remove_operator": OPERATOR,
    "console.begin_visit": OPERATOR,
    "console.you": OPERATOR,
    "console.change_password": OPERATOR,
    "console.end_browser": OPERATOR,
    "console.end_other_browsers": OPERATOR,
    "console.security.show": OPERATOR,
    "console.security.begin_app": OPERATOR,
    "console.security.new_app": OPERATOR,
    "console.security.new_passkey": OPERATOR,
    "console.security.keep_passkey": OPERATOR,
    "console.security.passkey_options": OPERATOR,
    "console.security.new_codes": OPERATOR,
    "console.security.remove": OPERATOR,
    "console.end_visit": OPERATOR,
    "organisations.ask": NEUTRAL,
    "organisations.sent": NEUTRAL,
    "support.enter": PUBLIC,
    "support.visits": MEMBER,
    "support.choose_rule": MEMBER,
    "support.end": MEMBER,
    "letters_desk.show": MEMBER,
    "letters_desk.try_again": MEMBER,
    "joining.ask": PUBLIC,
    "joining.sent": PUBLIC,
    "joining.join": PUBLIC,
    "joining.domains": MEMBER,
    "joining.approve": MEMBER,
    "joining.remove": MEMBER,
}

JOBS = {
    "accounts.check_identities",
    "accounts.send_join_link",
    "accounts.send_organisations",
    "accounts.purge",
    "accounts.send_help",
    "accounts.send_invitation",
    "accounts.send_sign_in_link",
    "accounts.send_warning",
    "accounts.tell_of_visit",
    "api.sweep",
    "audit.check",
    "audit.retire",
    "chat.tell_of_conversation",
    "content.import_wordpress",
    "events.retire",
    "inbox.send_letter",
    "storage.clear",
}

# Commands that name one tenant are run for beta below; the rest speak of the platform as a whole.
EXPORT = "the path of an export"
TENANT_COMMANDS = {
    ("tenants", "show"): ["beta", "--json"],
    ("tenants", "explain"): ["beta.localhost", "--json"],
    ("tenants", "suspend"): ["beta", "--reason", "late"],
    ("tenants", "resume"): ["beta"],
    ("tenants", "archive"): ["beta", "--yes"],
    ("domains", "add"): ["beta", "brass.example"],
    ("domains", "verify"): ["beta.localhost", "--json"],
    ("domains", "primary"): ["brass.example"],
    ("domains", "remove"): ["brass.example", "--yes"],
    ("users", "list"): ["beta", "--json"],
    ("users", "reset-2fa"): ["beta", "owner@beta.test"],
    ("jobs", "list"): ["beta", "--json"],
    ("jobs", "retry"): ["beta"],
    ("keys", "rotate"): ["beta"],
    ("audit", "verify"): ["beta", "--json"],
    ("backups", "run"): ["beta", "--json"],
    ("backups", "list"): ["beta", "--json"],
    ("backups", "restore"): ["beta", "--at", "latest", "--replace", "--yes", "--json"],
    ("backups", "drill"): ["beta", "--json"],
    ("backups", "repair"): ["beta", "--yes", "--json"],
    ("content", "import-wordpress"): ["beta", EXPORT, "--json"],
}
PLATFORM_COMMANDS = {
    ("config",),
    ("events",),
    ("audit", "kinds"),
    ("serve",),
    ("run",),
    ("migrate",),
    ("health",),
    ("doctor",),
    ("isolation", "verify"),
    ("backups", "rebuild"),
    ("backups", "carry-out"),  # does what an order says; the orders are made by routes
    ("keys", "rotate-master"),
    ("keys", "recovery-kit"),
    ("tenants", "create"),
    ("tenants", "list"),
    ("domains", "list"),
    ("operators", "create"),
    ("operators", "list"),
    ("operators", "reset"),
    ("operators", "role"),
    ("operators", "remove"),
    ("bench", "seed"),
    ("demo",),
}

CANARY = {"alpha": "Quetzalcoatl", "beta": "Xochiquetzal"}


@pytest.fixture
def canaries(app, tenancy, alpha, beta) -> None:
    """Plant the same ids on both sides, each row holding its own tenant's word."""
    with app.app_context():
        for tenant in (alpha, beta):
            word = CANARY[tenant.slug]
            with tenant_context(tenant):
                for kind, state, visibility in (
                    ("post", "published", "public"),
                    ("post", "draft", "public"),
                    ("page", "published", "members"),
                    ("page", "trashed", "public"),
                ):
                    slug = f"{kind}-{state}"
                    db.session.add(
                        Entry(
                            kind=kind,
                            slug=slug,
                            path=slug,
                            title=f"{word} {slug}",
                            source=word,
                            html=f"<p>{word}</p>",
                            state=state,
                            visibility=visibility,
                            published_at=utcnow(),
                        )
                    )
                topic = Topic(slug="topic", name=word)
                db.session.add_all(
                    [
                        topic,
                        MenuItem(label=word, url="/x"),
                        Media(name=f"{word}.txt"),
                        Import(name=f"{word}.xml"),
                    ]
                )
                with_the_word(word)
                db.session.commit()


def with_the_word(word: str) -> None:
    """Plant a conversation with a letter to send, a line in a room and an invitation, through the verbs."""
    owner = db.session.scalars(select(User)).first()
    Invitation.send(f"{word.lower()}-guest@example.org", "member", word, by=owner)
    Role.make(f"{word}'s helpers", ["chat.talk"], by=owner)
    Token.make(word, ["members.read"], timedelta(days=30), by=owner)
    contact = Contact.at(f"{word.lower()}@example.org", word)
    conversation = Conversation.open_from(contact, f"{word} asks", f"{word} wrote this.")
    conversation.reply(f"{word} is answered.", by=owner, client_id=word)
    conversation.note(f"{word} is noted.", by=owner, client_id=f"{word}-note")
    db.session.scalars(select(Room)).first().say(f"{word} is said.", by=owner, client_id=word)


def rules(app) -> Iterator[Rule]:
    return app.url_map.iter_rules()


def addresses(app, tenancy, rule: Rule) -> list[str]:
    """Fill a rule with the ids that exist, the same on both sides."""
    values = {
        "entry_id": range(1, 8),
        "import_id": [1],
        "conversation_id": [1],
        "message_id": [1, 2, 3],
        "room_id": [1],
        "user_id": [1],
        "invitation_id": [1],
        "letter_id": [1],
        "role_id": [1],
        "factor_id": [1],
        "device_id": [1],
        "line_id": range(1, 5),
        "slug": ["post-published", "post-draft", "topic", "alpha"],
        "path": ["page-published", "page-trashed", "post-published"],
        "version": ["1"],
        "token": ["x.y"],
        "token_id": [2, 1],
        "seq": [1],
        "item_id": [1],
        "visit_id": [1],
        "domain_id": [1],
        "host": ["alpha.localhost"],
        "nonce": ["x"],
        "operator_id": [1],
        "mark": ["x"],
        "name": ["0" * 64, "page"],
        "filename": ["a.txt"],
    }
    found = [rule.rule]
    for argument in sorted(rule.arguments):
        found = [
            re.sub(rf"<(?:[a-z]+:)?{argument}>", str(value), address) for address in found for value in values[argument]
        ]
    return found


def digest(tenancy, tenant, but: str = "session") -> str:
    """Return a hash of everything in a tenant's file except who is signed in, and `but` for one table more."""
    file = tenancy.placements.open_file(tenant.id)
    tables = file.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE '%VIRTUAL%' AND name NOT IN ('session', ?)",
        (but,),
    ).fetchall()
    rows = [(name, file.execute(f'SELECT * FROM "{name}"').fetchall()) for (name,) in sorted(tables)]
    file.close()
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def test_every_route_is_classified(app):
    assert {rule.endpoint for rule in rules(app)} == set(ROUTES)


def test_every_job_is_classified(app):
    assert {job.name for job in jobs() if not job.name.startswith("test")} == JOBS


def test_every_command_is_classified(app):
    def paths(command: click.Command, *names: str) -> Iterator[tuple[str, ...]]:
        if isinstance(command, click.Group) and names != ("run",):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                yield from paths(child, *names, name)
        else:
            yield names

    assert set(paths(main)) == set(TENANT_COMMANDS) | PLATFORM_COMMANDS


def test_the_canaries_sing_at_home(canaries, alpha, client_for, signed_in):
    """The walk would prove nothing if its words were nowhere to be seen."""
    assert CANARY["alpha"] in client_for(alpha).get("/posts/post-published").text
    assert CANARY["alpha"] in signed_in(alpha).get("/desk/content/").text


def test_no_route_shows_or_changes_alpha_for_whoever_stands_at_beta(
    app, tenancy, canaries, alpha, beta, client_for, signed_in
):
    stranger = client_for(beta)
    member = signed_in(alpha)
    cookie = member.get_cookie("freehold", domain="alpha.localhost")
    carrier = client_for(beta)
    before = digest(tenancy, alpha), digest(tenancy, beta, but="audit")
    walked = 0
    for rule in list(rules(app)):
        for address in addresses(app, tenancy, rule):
            for method in sorted(rule.methods - {"OPTIONS"}):
                for browser in (stranger, carrier):
                    carrier.set_cookie("freehold", cookie.value, domain="beta.localhost")
                    answer = browser.open(
                        address, method=method, data={"title": "planted"} if method == "POST" else None
                    )
                    walked += 1
                    where = (
                        f"{method} {address} ({rule.endpoint}) by {'stranger' if browser is stranger else 'carrier'}"
                    )
                    assert CANARY["alpha"] not in answer.text, where
                    assert alpha.name not in answer.text, where
                    kind = ROUTES[rule.endpoint]
                    if kind in (STREAM, PROGRAM):
                        assert answer.status_code in (401, 404, 405), where
                    if kind == MEMBER:
                        assert answer.status_code in (302, 303, 403, 404, 405), where
                        assert CANARY["beta"] not in answer.text, where
                    if kind == OPERATOR and rule.rule not in ("/",):
                        assert answer.status_code in (403, 404, 405), where
                    assert answer.status_code < 500 or rule.rule == "/readyz", where
    assert walked > 150
    assert (digest(tenancy, alpha), digest(tenancy, beta, but="audit")) == before
    with app.app_context():
        with tenant_context(beta, writes=False):
            told = db.session.scalars(select(Audit).where(Audit.kind == "foreign_cookie")).all()
        assert told, "beta is told that a cookie of another house came"
        assert not [row for row in told if alpha.id in row.detail or alpha.slug in row.detail]
        meetings = db.session.scalars(select(AuditRow).where(AuditRow.kind == "foreign_cookie")).all()
    assert {(row.tenant_id, row.other_tenant_id) for row in meetings} <= {
        (beta.id, alpha.id),
        (alpha.id, beta.id),
    }
    assert 1 <= len(meetings) <= 3, "one row a minute, however often the cookie comes"


def test_the_owner_of_beta_reaches_nothing_of_alpha_by_id(app, tenancy, canaries, alpha, beta, signed_in):
    owner = signed_in(beta)
    before = digest(tenancy, alpha)
    for rule in list(rules(app)):
        if ROUTES[rule.endpoint] not in (MEMBER, PUBLIC):
            continue
        for address in addresses(app, tenancy, rule):
            for method in sorted(rule.methods - {"OPTIONS", "HEAD"}):
                if rule.endpoint == "accounts.sign_out":
                    continue
                answer = owner.open(address, method=method)
                assert CANARY["alpha"] not in answer.text, f"{method} {address}"
                assert alpha.name not in answer.text, f"{method} {address}"
    assert digest(tenancy, alpha) == before


def test_nobody_of_a_tenant_enters_the_console(app, canaries, alpha, signed_in, platform):
    member = signed_in(alpha)
    platform.set_cookie(
        "freehold", member.get_cookie("freehold", domain="alpha.localhost").value, domain="platform.localhost"
    )
    for rule in list(rules(app)):
        if ROUTES[rule.endpoint] != OPERATOR:
            continue
        for address in addresses(app, None, rule):
            for method in sorted(rule.methods - {"OPTIONS", "HEAD"}):
                answer = platform.open(address, method=method)
                assert answer.status_code in (302, 303, 403, 404), f"{method} {address}"
                assert alpha.name not in answer.text, f"{method} {address}"


def test_no_job_of_alpha_runs_in_beta(app, canaries, tenancy, alpha, beta):
    """Each of alpha's rows, pointed at from beta: refused, though beta has a row of the same number."""
    with app.app_context():
        before = digest(tenancy, beta)
        for number, name in enumerate(sorted(JOBS), 1):
            with tenant_context(alpha):
                envelope = seal(due.Reserved(number, name, 0))
            envelope["tenant"] = beta.id
            with pytest.raises(EnvelopeRefused):
                perform(envelope)
        assert digest(tenancy, beta) == before


def test_the_jobs_of_beta_change_and_send_nothing_of_alpha(app, canaries, tenancy, alpha, beta, work):
    before = digest(tenancy, alpha)
    assert work(beta) >= 2
    assert digest(tenancy, alpha) == before
    letters = [letter.read_text() for letter in (app.config["FREEHOLD"].instance / "outbox").glob("*.eml")]
    assert letters
    assert not [letter for letter in letters if CANARY["alpha"] in letter]


def test_a_stream_of_beta_hears_nothing_of_alpha(app, canaries, alpha, beta, signed_in):
    with app.app_context():
        with tenant_context(beta, writes=False):
            start = str(events.position())
        answer = signed_in(beta).get(f"/live?after={start}", buffered=False)
        for tenant in (alpha, beta):
            with tenant_context(tenant):
                owner = db.session.scalars(select(User)).first()
                db.session.scalars(select(Room)).first().say(
                    f"{CANARY[tenant.slug]} once more", by=owner, client_id="2"
                )
                db.session.commit()
    heard = ""
    for frame in answer.response:
        heard += frame.decode()
        if CANARY["beta"] in heard:
            break
    answer.close()
    assert CANARY["alpha"] not in heard
    assert alpha.name not in heard


@pytest.mark.parametrize("command", sorted(TENANT_COMMANDS))
def test_no_command_on_beta_speaks_of_or_changes_alpha(canaries, tenancy, alpha, runner, tmp_path, command):
    file = tmp_path / "export.xml"
    file.write_bytes(export(item(1, "Brought in", "Words.")))
    if command == ("tenants", "resume"):
        tenancy.lifecycle.suspend("beta", "late")
    if command in (("domains", "primary"), ("domains", "remove")):
        assert runner("domains", "add", "beta", "brass.example").exit_code == 0
    if command[0] == "backups":
        assert runner("backups", "run", "beta").exit_code == 0
    before = digest(tenancy, alpha)
    result = runner(*command, *(str(file) if argument is EXPORT else argument for argument in TENANT_COMMANDS[command]))
    nothing_serves = command == ("domains", "verify")
    assert result.exit_code == (1 if nothing_serves else 0), result.output
    assert CANARY["alpha"] not in result.output
    assert "alpha" not in result.output
    assert digest(tenancy, alpha) == before
    assert tenancy.registry.by_slug("alpha") == alpha


def test_signing_in_at_beta_with_alphas_password_is_refused(app, alpha, beta, client_for):
    browser: Browser = client_for(beta)
    with pytest.raises(AssertionError):
        sign_in(browser, "owner@alpha.test", PASSWORD)


def cross(app, count: int, threads: int = 4) -> list[str]:
    """Ask for both houses' pages in turn from several threads over a pool of one connection each; returns what leaked."""
    leaks: list[str] = []

    def walk(start: int) -> None:
        client = app.test_client(use_cookies=False)
        for number in range(start, start + count // threads):
            slug, other = ("alpha", "beta") if (number * 7919) % 3 else ("beta", "alpha")
            answer = client.get("/posts/post-published", headers={"Host": f"{slug}.localhost"})
            if answer.status_code != 200 or CANARY[slug] not in answer.text or CANARY[other] in answer.text:
                leaks.append(f"{slug} got {answer.status_code}: {answer.text[:200]}")

    walkers = [threading.Thread(target=walk, args=(start * count,)) for start in range(threads)]
    for walker in walkers:
        walker.start()
    for walker in walkers:
        walker.join()
    return leaks


@pytest.fixture
def narrow_app(home, config_of, canaries):
    """An application that may hold few files open and keeps no page, so that every request goes to a file."""
    app = create_app(config_of(home, FREEHOLD_MAX_OPEN_TENANTS="4", FREEHOLD_PAGE_CACHE_BYTES="0"))
    yield app
    app.extensions["tenancy"].close()


def test_crossed_requests_from_many_threads_show_each_house_its_own(narrow_app):
    assert cross(narrow_app, 2_000) == []


@pytest.mark.prove
def test_a_million_crossed_requests_show_each_house_its_own(narrow_app):
    assert cross(narrow_app, 1_000_000) == []
