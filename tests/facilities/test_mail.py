"""Letters leave whole, once, and as they were meant; against a relay of this test's own, over a real socket."""

from __future__ import annotations

import email
import email.policy
import socketserver
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.header import decode_header, make_header

import pytest

from app import create_app
from app.facilities import mail
from app.tenancy import db, tenant_context

OK = {"EHLO": "250 here", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", ".": "250 taken", "QUIT": "221 bye"}


@dataclass
class Relay:
    """A mail server that says what it is told to, and keeps what it is given."""

    says: dict[str, str] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    letters: list[bytes] = field(default_factory=list)
    port: int = 0

    def talk(self, stream: socketserver.StreamRequestHandler) -> None:
        self._say(stream, self.says.get("hello", "220 relay"))
        while line := stream.rfile.readline():
            verb = line.split()[0].decode().upper()
            self.heard.append(line.decode().strip())
            answer = self.says.get(verb, OK.get(verb, "502 no"))
            if answer == "hang up":
                return
            self._say(stream, answer)
            if answer.startswith("354"):
                self.letters.append(b"".join(iter(stream.rfile.readline, b".\r\n")))
                self._say(stream, self.says.get(".", OK["."]))

    def _say(self, stream: socketserver.StreamRequestHandler, answer: str) -> None:
        stream.wfile.write(answer.replace("\n", "\r\n").encode() + b"\r\n")


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()

    class Talk(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            relay.talk(self)

    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Talk) as server:
        relay.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield relay
        server.shutdown()


@pytest.fixture
def by_relay(home, config_of, relay) -> Iterator[Callable[[str], None]]:
    """Send a letter through an application whose FREEHOLD_SMTP_URL is that relay."""
    apps = []

    def send(url: str = "smtp://127.0.0.1:{port}", **fields: object) -> None:
        app = create_app(config_of(home, FREEHOLD_SMTP_URL=url.format(port=relay.port)))
        apps.append(app)
        with app.app_context():
            mail.send(letter(**fields).as_message(), "alpha.1")

    yield send
    for app in apps:
        app.extensions["tenancy"].close()


def letter(**changes: object) -> mail.Letter:
    given = {
        "sender": mail.address("inbox@alpha.example", "Alpha Allotments"),
        "to": mail.address("ada@example.org", "Ada Lovelace"),
        "subject": "Re: A plot",
        "text": "Yes, one.\n",
        "letter_id": "<1.2.ab@alpha.example>",
        "date": datetime(2026, 11, 22, 6, tzinfo=UTC),
    }
    return mail.Letter(**{**given, **changes})  # type: ignore[arg-type]


def read(data: bytes) -> email.message.EmailMessage:
    return email.message_from_bytes(data, policy=email.policy.default)  # type: ignore[return-value]


def test_a_letter_says_who_what_and_when():
    sent = read(letter(answers=("<a@x>", "<b@x>")).as_message().as_bytes())
    assert sent["From"] == "Alpha Allotments <inbox@alpha.example>"
    assert sent["To"] == "Ada Lovelace <ada@example.org>"
    assert sent["Subject"] == "Re: A plot"
    assert sent["Date"] == "Sun, 22 Nov 2026 06:00:00 +0000"
    assert sent["Message-ID"] == "<1.2.ab@alpha.example>"
    assert (sent["In-Reply-To"], sent["References"]) == ("<b@x>", "<a@x> <b@x>")
    assert sent["Auto-Submitted"] is None
    assert (sent.get_content_type(), sent.get_content_charset()) == ("text/plain", "utf-8")
    assert sent.get_content().strip() == "Yes, one."


def test_the_names_of_letters_stand_as_they_are_however_long():
    ids = tuple(f"<{number}.{'0' * 60}@a-rather-long-name-of-a-house.example.org>" for number in (1, 2))
    sender, to = mail.address("inbox@alpha.test"), mail.address("vera@visitor.test")
    letter = mail.Letter(sender, to, "Boats", "Yes.", ids[1], datetime.now(UTC), answers=ids)
    told = letter.as_message().as_bytes().decode()
    assert f"Message-ID: {ids[1]}\r\nIn-Reply-To: {ids[1]}\r\nReferences: {ids[0]}\r\n {ids[1]}\r\n" in told


@pytest.mark.parametrize("text", ["Grüße 👩‍🚀 שלום", "x" * 5000, ".\n..\nFrom me", "a\n\n\n  b", "é" * 3000])
def test_any_text_arrives_as_it_was_written(text):
    assert read(letter(text=f"{text}\n").as_message().as_bytes()).get_content() == f"{text}\n".replace("\n", "\r\n")


@pytest.mark.parametrize(
    "evil", ["A\r\nBcc: x@y.org", "A\nBcc: x@y.org", "A\rBcc: x", "A\x00\x0bBcc: x", "A\u2028Bcc: x\x85"]
)
def test_no_header_can_be_broken_out_of(evil):
    sent = read(
        letter(subject=evil, to=mail.address("ada@example.org", evil), sender=mail.address("inbox@alpha.example", evil))
        .as_message()
        .as_bytes()
    )
    assert sorted(sent.keys()) == sorted(
        ["From", "To", "Subject", "Date", "Message-ID", "Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
    )
    assert sent["Subject"].endswith("Bcc: x@y.org") or sent["Subject"].endswith("Bcc: x")
    assert [str(address.addr_spec) for address in sent["To"].addresses] == ["ada@example.org"]


@pytest.mark.parametrize("name", ['Ada "the first" <x@y.org>', "Łucja, née Nowak", "ב" * 300, "a@b.org", "(comment)"])
def test_any_name_names_one_person_alone(name):
    data = letter(to=mail.address("ada@example.org", name)).as_message().as_bytes()
    (to,) = read(data)["To"].addresses
    assert to.addr_spec == "ada@example.org"
    # Python's newer reader puts spaces between encoded words that carry one name; other readers, and its older one, do not.
    shown = str(make_header(decode_header(email.message_from_bytes(data)["To"]))).rpartition(" <")[0]
    assert shown.replace('\\"', '"').strip('"') == name.strip('"')


@pytest.mark.parametrize(
    "given",
    [
        "",
        "ada",
        "@example.org",
        "ada@",
        "a b@example.org",
        "ada@exa mple.org",
        "ada@example.org>, <x@y.org",
        "a\n@b.org",
        "ada@b.org\nBcc: x@y.org",
        "a,b@example.org",
        "a" * 65 + "@example.org",
        "a;b@example.org",
        '"a b"@example.org',
    ],
)
def test_what_is_no_address_is_refused(given):
    with pytest.raises(mail.MailRefused):
        mail.address(given)
    assert not mail.is_address(given)


def test_a_host_of_any_script_is_written_in_ascii():
    assert mail.address("ada@bücher.example").addr_spec == "ada@xn--bcher-kva.example"


def test_a_long_thread_keeps_its_first_and_newest_letters():
    answers = tuple(f"<{number:04}.{'a' * 60}@alpha.example>" for number in range(500))
    sent = read(letter(answers=answers).as_message().as_bytes())
    references = sent["References"].split()
    assert len(" ".join(references)) <= mail.REFERENCES_LENGTH
    assert references[0] == answers[0]
    assert references[1:] == list(answers[-len(references) + 1 :])
    assert sent["In-Reply-To"] == answers[-1]


def test_without_a_relay_a_letter_is_a_file_for_its_eyes_only(app, home):
    with app.app_context():
        mail.send(letter().as_message(), "alpha.1")
    (file,) = (home / "instance" / "outbox").iterdir()
    assert file.name == "alpha.1.eml"
    assert read(file.read_bytes())["Subject"] == "Re: A plot"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_same_letter_twice_is_one_file(app, home):
    with app.app_context():
        for _ in range(3):
            mail.send(letter().as_message(), "alpha.1")
    assert len(list((home / "instance" / "outbox").iterdir())) == 1


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "a" * 201, "a\x00b", "x."])
def test_a_name_that_leads_elsewhere_is_no_name(app, home, name):
    with app.app_context(), pytest.raises(ValueError, match="cannot name a letter"):
        mail.send(letter().as_message(), name)
    assert not (home / "x.eml").exists()


def test_an_outbox_that_cannot_be_written_says_so_and_leaves_nothing(app, home):
    (home / "instance" / "outbox").write_text("in the way")
    with app.app_context(), pytest.raises(mail.MailDown, match="outbox"):
        mail.send(letter().as_message(), "alpha.1")
    assert (home / "instance" / "outbox").read_text() == "in the way"


def test_a_letter_cut_short_by_a_full_disk_is_not_there(app, home, small_disk):
    outbox = home / "instance" / "outbox"
    outbox.symlink_to(small_disk)
    with app.app_context(), pytest.raises(mail.MailDown, match="No space left"):
        mail.send(letter(text="x\n" * (8 << 20)).as_message(), "alpha.1")
    assert list(small_disk.glob("*alpha.1*")) + list(small_disk.glob(".alpha.1*")) == []


def test_a_request_sends_nothing_and_no_file_stays_locked(app, alpha):
    with app.app_context(), tenant_context(alpha, origin="request"), pytest.raises(RuntimeError, match="in a job"):
        mail.send(letter().as_message(), "alpha.1")
    with app.app_context(), tenant_context(alpha, origin="job"):
        from app.accounts import User

        User.count()
        with pytest.raises(RuntimeError, match="End the transaction first"):
            mail.send(letter().as_message(), "alpha.1")
        db.session.rollback()
        mail.send(letter().as_message(), "alpha.1")


def test_a_relay_takes_the_letter_for_its_one_reader(by_relay, relay):
    by_relay(text=".\nGrüße\n")
    assert [line for line in relay.heard if line[:4] in ("MAIL", "RCPT", "mail", "rcpt")] == [
        "mail FROM:<inbox@alpha.example>",
        "rcpt TO:<ada@example.org>",
    ]
    assert read(relay.letters[0])["Message-ID"] == "<1.2.ab@alpha.example>"


@pytest.mark.parametrize(
    "says",
    [
        {"hello": "421 closing"},
        {"hello": "554 no service here"},
        {"MAIL": "451 later"},
        {"RCPT": "450 greylisted"},
        {"DATA": "452 no room"},
        {".": "451 later"},
        {"RCPT": "hang up"},
        {"DATA": "hang up"},
    ],
)
def test_a_relay_that_cannot_now_is_asked_again_later(by_relay, relay, says):
    relay.says = says
    with pytest.raises(mail.MailDown):
        by_relay()


@pytest.mark.parametrize("says", [{"RCPT": "550 5.1.1 no such person"}, {"MAIL": "553 not you"}, {".": "554 5.7.1 no"}])
def test_a_relay_that_never_will_is_not_asked_again(by_relay, relay, says):
    relay.says = says
    with pytest.raises(mail.MailRefused, match="The relay refused it: 55"):
        by_relay()


def test_a_relay_that_is_not_there_is_down(by_relay, relay):
    with pytest.raises(mail.MailDown, match="does not answer"):
        by_relay("smtp://127.0.0.1:1")


def test_an_address_beyond_ascii_needs_a_relay_that_can(by_relay, relay):
    with pytest.raises(mail.MailRefused, match="cannot carry"):
        by_relay(to=mail.address("łucja@example.org"))
    relay.says = {"EHLO": "250-here\n250-8BITMIME\n250 SMTPUTF8"}
    by_relay(to=mail.address("łucja@example.org"))
    assert "łucja@example.org" in relay.letters[0].decode()


def test_a_relay_may_ask_who_we_are(by_relay, relay):
    relay.says = {"EHLO": "250-here\n250 AUTH PLAIN", "AUTH": "235 welcome"}
    by_relay("smtp://us%40alpha:se%3Acret@127.0.0.1:{port}")
    assert len(relay.letters) == 1
    relay.says["AUTH"] = "535 wrong"
    with pytest.raises(mail.MailDown, match="does not let us in"):
        by_relay("smtp://us:wrong@127.0.0.1:{port}")


def test_no_password_travels_where_others_can_read_it(by_relay, relay, monkeypatch):
    relay.says = {"EHLO": "250-here\n250 AUTH PLAIN", "AUTH": "235 welcome"}
    monkeypatch.setattr(mail, "_is_this_machine", lambda host: False)
    with pytest.raises(mail.MailDown, match="offers no encryption"):
        by_relay("smtp://us:secret@127.0.0.1:{port}")
    assert not [line for line in relay.heard if line.upper().startswith("AUTH")]
