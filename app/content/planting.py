"""What a new organisation finds on its site on the first day."""

from __future__ import annotations

import html
from functools import cache

from sqlalchemy import insert

from app.content.models import Entry, MenuItem
from app.content.models.entry import SUMMARY_WORDS
from app.facilities.html import excerpt, render_markdown
from app.tenancy import db, utcnow

WELCOME = """\
This is the new site of **{name}**. It is on the air already, and it is yours to fill.

## Make it your own

1. Open the [desk](/desk/) and sign in.
2. Under *Content*, open this page and write a few words about who you are and where people find you.
3. Under *Settings*, give the site your colours and your logo.

Pages are for what stays: opening hours, who we are, how to join. Posts are for what is new.

What you write stays a draft until you publish it.
"""


def plant(name: str) -> None:
    """Give a new tenant called `name` a front page and a menu; the caller commits."""
    shown = _welcome().replace("{name}", html.escape(name, quote=False))
    front = insert(Entry).values(
        kind="page",
        slug="welcome",
        path="welcome",
        title="Welcome",
        summary=excerpt(shown, SUMMARY_WORDS),
        source=WELCOME.format(name=_plain(name)),
        html=shown,
        state="published",
        is_front=True,
        published_at=utcnow(),
    )
    front_id = db.session.scalar(front.returning(Entry.id))
    home = {"label": "Home", "position": 1, "entry_id": front_id, "url": None}
    news = {"label": "News", "position": 2, "entry_id": None, "url": "/posts/"}
    contact = {"label": "Contact", "position": 3, "entry_id": None, "url": "/contact"}
    db.session.execute(insert(MenuItem), [home, news, contact])


@cache
def _welcome() -> str:
    """Render the text once: ten thousand organisations differ in their name alone."""
    return render_markdown(WELCOME)


def _plain(name: str) -> str:
    """Keep a name from being read as Markdown."""
    return "".join(f"\\{c}" if c in r"\`*_[]<>#&|~" else c for c in name)
