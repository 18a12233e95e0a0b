"""`freehold events`: the catalogue of what can happen, for people to read. docs/events.md is what it prints."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from app.facilities import events
from app.facilities.events import Kind

INTRODUCTION = """\
# Everything that can happen

Each change in an organisation writes an event into its file, in the same transaction. An event says what happened (its
kind), to what (its subject, such as `line:12`), who brought it about, who may see it, and ids that tell more (its payload).
Handlers answer it at once, in the same transaction, or later, in a job. Events are kept for thirty days.

This page is printed by `freehold events`; a test holds the two equal."""


@click.command("events")
@with_appcontext
def cli() -> None:
    """Print the catalogue of events as Markdown."""
    click.echo(catalogue())


def catalogue() -> str:
    """Return every kind of event, by name, in Markdown."""
    return "\n\n".join([INTRODUCTION, *(_entry(kind) for kind in events.kinds())])


def _entry(kind: Kind) -> str:
    payload = "; ".join(f"`{name}`, {meaning}" for name, meaning in sorted(kind.payload.items()))
    answered_by = ", ".join(f"`{handler}`" for handler in events.handlers(kind.name))
    return "\n".join(
        (
            f"## {kind.name}\n",
            f"{kind.meaning}\n",
            f"- Subject: `{kind.subject}:<id>`",
            f"- Payload: {payload or 'nothing'}",
            f"- Answered by: {answered_by or 'nobody'}",
        )
    )
