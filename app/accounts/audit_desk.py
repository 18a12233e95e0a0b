"""Where owners read their organisation's audit: who did what that touches its safety, newest first."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from operator import itemgetter
from typing import Any

from flask import Blueprint, make_response, render_template, request
from flask_login import current_user
from sqlalchemy import Select, or_, select
from werkzeug.wrappers import Response

from app.accounts.freshness import fresh_required
from app.accounts.models import Role, User
from app.accounts.models.support_visit import Guest
from app.accounts.policy import needs, permissions
from app.facilities import audit, clock
from app.facilities.audit import Audit
from app.facilities.pagination import Pagination, paginate
from app.facilities.reader import current_reader
from app.tenancy import current_tenant, db

blueprint = Blueprint("audit_desk", __name__, url_prefix="/desk/settings/audit")

PER_PAGE = 50
MOST_ROWS = 100_000  # of a download, the newest
ROLES_IN = {"role", "before", "after"}  # what a row may tell by the key of a role
COLUMNS = ("number", "time", "what", "kind", "by", "about", "before", "after", "detail", "request", "hash")
CHANGED = {
    "name": "Name",
    "permissions": "May",
    "second_factor": "Who has to have a second factor",
    "by_letter": "A letter may stand for the password",
    "visits": "Visits may",
}  # what a row tells the old and the new value of, by its name there
ADDRESS = re.compile(r"\S+@[\w.-]*\w")
FORMULAS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
)  # with which a spreadsheet takes a cell for a formula (OWASP, CSV injection)


@dataclass(frozen=True)
class Wanted:
    """What is asked for: acts of one kind, that a person did or that were done to them, of one day."""

    kind: str
    who: str
    day: date | None

    @classmethod
    def asked(cls) -> Wanted:
        """Read the address's question; what is no kind and no day asks for all."""
        kinds = {kind.name for kind in audit.kinds()}
        kind, who = request.args.get("kind", ""), request.args.get("who", "").strip()[:100]
        return cls(kind if kind in kinds else "", who, _day(request.args.get("day", "")))

    def rows(self) -> Select[Any]:
        """Select the rows, newest first."""
        found = select(Audit).order_by(Audit.id.desc())
        if self.kind:
            found = found.where(Audit.kind == self.kind)
        if self.who:
            named = select(User.email).where(User.name.icontains(self.who, autoescape=True))
            rules = [side.in_(named) for side in (Audit.actor, Audit.subject)]
            if not is_guest():
                rules += [side.icontains(self.who, autoescape=True) for side in (Audit.actor, Audit.subject)]
            found = found.where(or_(*rules))
        if self.day:
            found = found.where(Audit.at >= _midnight(self.day), Audit.at < _midnight(self.day + timedelta(days=1)))
        return found

    @property
    def query(self) -> dict[str, str]:
        """What asks for the same again, for links."""
        asked = {"kind": self.kind, "who": self.who, "day": self.day.isoformat() if self.day else ""}
        return {name: value for name, value in asked.items() if value}


@dataclass(frozen=True)
class Change:
    """A value that an act changed, in words; `what` is "" where the sentence says it all."""

    what: str
    before: str
    after: str

    def said(self, value: str) -> str:
        """Return one of its values with what it is a value of."""
        return f"{self.what}: {value}" if self.what else value


@dataclass(frozen=True)
class Line:
    """A row as people read it; `at` is by the reader's clocks."""

    row: Audit
    at: datetime
    sentence: str
    changes: list[Change]


@blueprint.get("/")
@needs("audit.read")
def show() -> Response:
    """List what happened, a page at a time."""
    wanted = Wanted.asked()
    found = paginate(wanted.rows(), request.args.get("page", 1, type=int), PER_PAGE)
    page = render_template(
        "accounts/desk/audit.html",
        found=Pagination(lines(found.items), found.page, found.pages, found.total),
        wanted=wanted,
        kinds=sorted(((kind.name, re.split("[;:.]", kind.meaning)[0]) for kind in audit.kinds()), key=itemgetter(1)),
        standing=audit.standing(current_tenant().id),
    )
    return make_response(page)


@blueprint.get("/rows.csv")
@needs("audit.read")
@fresh_required
def download() -> Response:
    """Give the same rows as a file for a spreadsheet."""
    rows = db.session.scalars(Wanted.asked().rows().limit(MOST_ROWS)).all()
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    writer.writerows(cells(lines(rows)))
    response = make_response(file.getvalue())
    response.mimetype = "text/csv"
    response.headers["Content-Disposition"] = f'attachment; filename="audit-{current_tenant().slug}.csv"'
    return response


def lines(rows: Iterable[Audit]) -> list[Line]:
    """Tell of rows in sentences; people are called by the names they go by now."""
    rows, local = list(rows), current_reader().local
    addresses = {address for row in rows for address in (row.actor, row.subject) if address}
    people = select(User.email, User.name)
    few = people.where(User.email.in_(addresses)) if len(addresses) <= 2 * PER_PAGE else people
    names = dict(db.session.execute(few).tuples().all()) | {role.key: role.name for role in Role.every()}
    tell = without_addresses if is_guest() else str
    return [Line(row, local(row.at), tell(sentence(row, names)), list(changes(row, names, tell))) for row in rows]


def sentence(row: Audit, names: dict[str, str]) -> str:
    """Say in a plain sentence what a row tells."""
    known = {kind.name: kind for kind in audit.kinds()}.get(row.kind)
    if known is None or not known.sentence:
        return known.meaning.rstrip(".") if known else row.kind.replace("_", " ").capitalize()
    facts = {name: str(value) for name, value in row.told.items()}
    facts |= {name: names.get(facts[name], facts[name]) for name in ROLES_IN & facts.keys()}
    actor, subject = (names.get(address, address) for address in (row.actor, row.subject))
    if facts.get("browser", "").startswith("A "):
        facts["browser"] = facts["browser"].lower()
    facts |= {"actor": actor or "Somebody", "subject": subject or "somebody who is not here"}
    return known.sentence.format_map(defaultdict(str, facts)).strip().rstrip(".:")


def changes(row: Audit, names: dict[str, str], tell: Callable[[str], str] = str) -> Iterator[Change]:
    """Yield what a row tells the old and the new value of; where there is one alone, the row may be about the new one."""
    before, after = row.told.get("before"), row.told.get("after", row.subject)
    if isinstance(before, str) and isinstance(after, str):
        yield Change("", tell(names.get(before, before)), tell(names.get(after, after)))
    elif isinstance(before, dict) and isinstance(after, dict):
        for name, value in after.items():
            if value != before.get(name):
                yield Change(CHANGED.get(name) or str(name), tell(in_words(before.get(name))), tell(in_words(value)))


def in_words(value: object) -> str:
    """Return a value as people say it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        labels = {each.name: each.label for each in permissions()}
        return "; ".join(labels.get(each, each) for each in value) or "nothing"
    return str(value)


def without_addresses(text: str) -> str:
    """Return a sentence in which whoever goes by an address alone is somebody."""
    told = ADDRESS.sub("somebody", text)
    return told[:1].upper() + told[1:]


def is_guest() -> bool:
    """Tell whether an operator on a visit asks: people's addresses are none of their business."""
    return isinstance(current_user._get_current_object(), Guest)


def cells(told: Iterable[Line]) -> Iterator[list[str | int]]:
    """Return the cells of lines, none of which a spreadsheet takes for a formula."""
    for line in told:
        row = line.row
        texts = (line.at.isoformat(timespec="seconds"), line.sentence, row.kind, row.actor, row.subject)
        before = "; ".join(each.said(each.before) for each in line.changes)
        after = "; ".join(each.said(each.after) for each in line.changes)
        yield [row.id, *(plain(text) for text in (*texts, before, after, row.detail, row.request_id, row.hash))]


def plain(text: str) -> str:
    """Return a text that a spreadsheet shows as it is."""
    return f"'{text}" if text.startswith(FORMULAS) else text


def _day(given: str) -> date | None:
    try:
        found = date.fromisoformat(given)
    except ValueError:
        return None
    return found if 1970 < found.year < 9999 else None


def _midnight(day: date) -> datetime:
    return clock.from_local(datetime.combine(day, time()), current_reader().time_zone)
