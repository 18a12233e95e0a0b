"""Whatever an advice names as a command is one."""

from __future__ import annotations

import re

import click
import pytest

from app.cli import main
from app.config import CHECKOUT

# A command between backticks, or one that a sentence of the console has somebody run.
NAMED = re.compile(r"(?:`|[Rr]un )freehold ([^`\n\"]+)")
WORD = re.compile(r"[a-z][a-z0-9-]*")


def texts():
    for folder, pattern in (("app", "*.py"), ("templates", "*.html"), ("docs/operate", "*.md")):
        yield from sorted((CHECKOUT / folder).rglob(pattern))


def flaw(line):
    """Return what is not there of a command line, "" for nothing."""
    command, words = main, line.split()
    context = click.Context(main)
    while isinstance(command, click.Group) and words and WORD.fullmatch(words[0].strip(".,:;")):
        found = command.get_command(context, words[0].strip(".,:;"))
        if found is None:
            return f"no command {words[0]}"
        command, words = found, words[1:]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    asked = {match[0] for word in words if (match := re.match(r"--[a-z][a-z-]+", word))}
    return f"no option {', '.join(sorted(asked - known))}" if asked - known else ""


def test_every_command_that_is_named_is_there():
    named = [(path, line) for path in texts() for line in NAMED.findall(path.read_text())]
    assert len(named) > 50
    assert [f"{path.relative_to(CHECKOUT)}: {line}: {flaw(line)}" for path, line in named if flaw(line)] == []


@pytest.mark.parametrize("line", ["domains rename HOST", "nothing", "tenants create SLUG --never"])
def test_one_that_is_not_there_is_found(line):
    assert flaw(line)
