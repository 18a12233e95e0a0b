"""Letters that leave the house: by the relay in FREEHOLD_SMTP_URL or, without one, as files in instance/outbox/.

Sending is work for jobs: it may take long, so no request does it and no transaction is open meanwhile. When the relay is
down, or the disk of the outbox full, `MailDown` is raised with nothing sent: try again later. What the relay will
never take raises `MailRefused`. A job that ends between the relay's yes and its own commit sends the letter again, with
the same Message-ID, by which the recipient's side may know it; the outbox holds one file for a name however often it is sent.
"""

from __future__ import annotations

import os
import re
import secrets
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import idna
from flask import current_app

from app.facilities import limits
from app.facilities.text import one_line
from app.tenancy import current_scope, db
from app.tenancy.errors import FreeholdError

CONNECT_AND_ANSWER = 20  # seconds that the relay may take for each step
REFERENCES_LENGTH = 1500  # characters; some relays refuse a block of headers above 4,096
PORTS = {"smtp": 25, "smtps": 465}
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?")
_LOCAL_PART = re.compile(r"[^\s\x00-\x1f\x7f\"(),:;<>@\[\\\]]{1,64}")

# What people write is counted; what signing in needs never stops for a plan.
limits.meter("letters", unit="letters a day", label="Letters")


class MailDown(FreeholdError):
    """The relay, or the outbox, cannot take a letter right now."""

    code = "mail_down"
    status = 503
    title = "Letters cannot leave right now"
    advice = "Nothing was lost. It is tried again by itself."
    retry_after = 60


class MailRefused(FreeholdError):
    """The relay will not take this letter, however often it is asked; the message says why."""

    code = "mail_refused"
    status = 422
    title = "This letter was refused"


class _LetterIds(UnstructuredHeader):
    """One Message-ID or several. Python would encode one that is too long for a line, and no program finds the thread then."""

    max_count = 1

    def fold(self, *, policy: EmailPolicy) -> str:
        """Break the lines between ids alone."""
        ids = f"{policy.linesep} ".join(str(self).split())
        return f"{self.name}: {ids}{policy.linesep}"  # type: ignore[attr-defined]


_headers = HeaderRegistry()
for _name in ("message-id", "in-reply-to", "references"):
    _headers.map_to_type(_name, _LetterIds)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Letter:
    """A letter in plain text, with HTML beside it or not. Its header fields cannot be broken out of, whatever stands in them."""

    sender: Address
    to: Address
    subject: str
    text: str
    letter_id: str  # Message-ID, with its angle brackets
    date: datetime
    answers: tuple[str, ...] = ()  # the Message-IDs before it in the same thread, oldest first
    html: str = ""  # the same in a look of its own, for programs that show it

    def as_message(self) -> EmailMessage:
        """Return it as RFC 5322 and RFC 2045 write it, in UTF-8."""
        message = EmailMessage(policy=SMTP.clone(utf8=not self.to.username.isascii(), header_factory=_headers))
        message["From"] = self.sender
        message["To"] = self.to
        message["Subject"] = one_line(self.subject)
        message["Date"] = format_datetime(self.date)
        message["Message-ID"] = self.letter_id
        if self.answers:
            message["In-Reply-To"] = self.answers[-1]
            message["References"] = " ".join(_bounded(self.answers))
        message.set_content(self.text)
        if self.html:
            message.add_alternative(self.html, subtype="html")
        return message


def address(email: str, name: str = "") -> Address:
    """Return `email` as headers carry it, its host in ASCII; raises `MailRefused` for what is no address."""
    local, _, host = email.rpartition("@")
    try:
        domain = idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        domain = ""
    if not _LOCAL_PART.fullmatch(local) or not domain:
        raise MailRefused(f"{email!r} is not an address that a letter could be sent to.")
    return Address(one_line(name), local, domain)


def as_written(to: Address) -> str:
    """Return an address as people write it, its host in their own letters."""
    return f"{to.username}@{idna.decode(to.domain)}"


def is_address(email: str) -> bool:
    """Tell whether a letter could be sent to `email`; nobody is asked whether it exists."""
    try:
        return bool(address(email))
    except MailRefused:
        return False


def send(message: EmailMessage, name: str) -> None:
    """Send a letter; `name` (letters, digits, dots, hyphens, underscores) is one that no other letter of any tenant has.

    Raises `MailDown`, `MailRefused`; `RuntimeError` in a request or with a transaction open.
    """
    _refuse_hurry()
    relay = urlsplit(current_app.config["FREEHOLD"].smtp_url)
    if relay.scheme:
        _hand_over(message, relay)
    else:
        _lay_down(message, name)


def greet_relay() -> None:
    """Sign in at the relay, if there is one, and send nothing; raises `MailDown` as a letter would meet it."""
    relay = urlsplit(current_app.config["FREEHOLD"].smtp_url)
    if relay.scheme:
        with _told_as_down(relay):
            _connected(relay).close()


def _refuse_hurry() -> None:
    scope = current_scope()
    if scope is not None and scope.origin == "request":
        raise RuntimeError("A request must not wait for a mail relay. Send the letter in a job: @later or jobs.later.")
    if db.session().in_transaction():
        raise RuntimeError(
            "The tenant's file would stay locked while the relay answers. End the transaction first, with "
            "db.session.commit() or db.session.rollback(), and load what you need again afterwards."
        )


def _lay_down(message: EmailMessage, name: str) -> None:
    """Put the letter into the outbox whole or not at all."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a letter; use letters, digits, dots, hyphens and underscores.")
    outbox: Path = current_app.config["FREEHOLD"].instance / "outbox"
    temporary = outbox / f".{name}.{secrets.token_hex(8)}"
    try:
        outbox.mkdir(mode=0o700, exist_ok=True)
        _write(temporary, message.as_bytes())
        temporary.rename(outbox / f"{name}.eml")
        _keep(outbox)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise MailDown(f"The outbox {outbox} cannot take a letter: {error.strerror or error}.") from error


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _keep(folder: Path) -> None:
    """Have the disk keep the names in `folder`, as it keeps what is in the files."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hand_over(message: EmailMessage, relay: SplitResult) -> None:
    with _told_as_down(relay):
        try:
            with closing(_connected(relay)) as connection:
                connection.send_message(message)
        except smtplib.SMTPRecipientsRefused as refusal:
            raise _judged(*next(iter(refusal.recipients.values()))) from refusal
        except smtplib.SMTPNotSupportedError as refusal:
            raise MailRefused(f"The relay cannot carry this letter: {refusal}") from refusal


@contextmanager
def _told_as_down(relay: SplitResult) -> Iterator[None]:
    """Tell what hinders the relay now from what it refuses for good."""
    try:
        yield
    except (smtplib.SMTPAuthenticationError, smtplib.SMTPConnectError, smtplib.SMTPHeloError) as error:
        raise MailDown(f"The relay does not let us in: {_said(error.smtp_code, error.smtp_error)}.") from error
    except smtplib.SMTPResponseException as refusal:
        raise _judged(refusal.smtp_code, refusal.smtp_error) from refusal
    except (OSError, smtplib.SMTPException) as error:
        raise MailDown(f"The relay {relay.hostname} does not answer: {error}.") from error


def _connected(relay: SplitResult) -> smtplib.SMTP:
    """Return a connection to the relay, encrypted where it offers that, and signed in where the address names a user."""
    host, port = relay.hostname or "localhost", relay.port or PORTS[relay.scheme]
    ours = current_app.config["FREEHOLD"].platform_host
    encryption = ssl.create_default_context()
    if relay.scheme == "smtps":
        connection: smtplib.SMTP = smtplib.SMTP_SSL(host, port, ours, timeout=CONNECT_AND_ANSWER, context=encryption)
    else:
        connection = smtplib.SMTP(host, port, ours, timeout=CONNECT_AND_ANSWER)
    try:
        connection.ehlo_or_helo_if_needed()
        if relay.scheme == "smtp" and not _is_this_machine(host) and connection.has_extn("starttls"):
            connection.starttls(context=encryption)
            connection.ehlo()
        if relay.username:
            _sign_in(
                connection, relay, is_private=relay.scheme == "smtps" or isinstance(connection.sock, ssl.SSLSocket)
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _sign_in(connection: smtplib.SMTP, relay: SplitResult, *, is_private: bool) -> None:
    if not is_private and not _is_this_machine(relay.hostname or "localhost"):
        raise smtplib.SMTPException("it offers no encryption, and a password is not sent where others can read it")
    connection.login(unquote(relay.username or ""), unquote(relay.password or ""))


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _judged(code: int, words: bytes | str) -> MailDown | MailRefused:
    """Tell a refusal for now from one for good (RFC 5321 section 4.2.1)."""
    said = _said(code, words)
    return (
        MailRefused(f"The relay refused it: {said}.") if code >= 500 else MailDown(f"Not yet, says the relay: {said}.")
    )


def _said(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return f"{code} {one_line(text)}".rstrip(" .")


def _bounded(letter_ids: tuple[str, ...]) -> list[str]:
    """Return the first and the newest ids, as many as a header has room for (RFC 5322 section 3.6.4)."""
    kept: list[str] = []
    room = REFERENCES_LENGTH - len(letter_ids[0])
    for letter_id in reversed(letter_ids[1:]):
        room -= len(letter_id) + 1
        if room < 0:
            break
        kept.insert(0, letter_id)
    return [letter_ids[0], *kept]
