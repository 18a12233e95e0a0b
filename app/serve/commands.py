"""The two commands. They read the settings and start processes; they open no database and load no page."""

from __future__ import annotations

import os

import click

from app.config import CHECKOUT, Config, ConfigError
from app.serve.folders import make_folders
from app.serve.processes import PROCESSES, environment
from app.serve.supervisor import CannotServe, Supervisor


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the front; PORT, else 8000.")
def serve(port: int | None) -> None:
    """Start every process, watch them, and end them all on Ctrl-C or SIGTERM."""
    config = _settings(port)
    try:
        Supervisor(config, PROCESSES, tell=lambda line: click.echo(line, err=True)).serve()
    except CannotServe as refusal:
        raise _refused(refusal) from None


@click.command()
@click.argument("name", type=click.Choice([process.name for process in PROCESSES]))
def run(name: str) -> None:
    """Become one of the processes, as the systemd units do."""
    config = _settings(None)
    try:
        make_folders(config)
    except CannotServe as refusal:
        raise _refused(refusal) from None
    command = next(process for process in PROCESSES if process.name == name).command(config)
    os.chdir(CHECKOUT)
    os.execve(command[0], command, environment(config))  # noqa: S606


def _settings(port: int | None) -> Config:
    given = {**os.environ, "PORT": str(port)} if port else os.environ
    try:
        return Config.load(given)
    except ConfigError as error:
        raise _refused(error) from None


def _refused(reason: Exception) -> click.ClickException:
    error = click.ClickException(str(reason))
    error.exit_code = 2
    return error
