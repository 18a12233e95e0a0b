"""What a new organisation finds on its site on the first day."""

from __future__ import annotations

from app.content.models import Entry, MenuItem
from app.tenancy import db

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
    front = Entry.write("page", "Welcome", WELCOME.format(name=_plain(name)), slug="welcome", is_front=True)
    front.publish()
    db.session.add_all(
        [
            MenuItem(label="Home", position=1, entry_id=front.id),
            MenuItem(label="News", position=2, url="/posts/"),
        ]
    )


def _plain(name: str) -> str:
    """Keep a name from being read as Markdown."""
    return "".join(f"\\{c}" if c in r"\`*_[]<>#&|~" else c for c in name)
