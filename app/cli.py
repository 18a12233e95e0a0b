"""The `freehold` command. Each module brings its own group; what is refused is told plainly, with exit code 2."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from importlib import import_module
from typing import Any

import click
from flask.cli import ScriptInfo

from app import create_app
from app.config import SETTINGS, Config, ConfigError

REFUSED = 2

# Where each command is; it is imported when it is asked for, so that `freehold serve` starts at once and stays small.
COMMANDS = {
    "serve": "app.serve:serve",
    "run": "app.serve:run",
    "tenants": "app.tenancy.cli:tenants",
    "domains": "app.ops.domains_cli:cli",
    "migrate": "app.tenancy.cli:migrate",
    "keys": "app.tenancy.keys_cli:cli",
    "users": "app.accounts.cli:cli",
    "content": "app.content.cli:cli",
    "operators": "app.console.cli:cli",
    "backups": "app.backups.cli:cli",
    "events": "app.facilities.events_cli:cli",
    "audit": "app.facilities.audit_cli:cli",
    "health": "app.ops.cli:cli",
    "doctor": "app.ops.doctor_cli:cli",
    "isolation": "app.ops.doctor_cli:isolation",
    "jobs": "app.ops.jobs_cli:cli",
    "demo": "app.demo:cli",
    "bench": "bench.cli:cli",
}


class Commands(click.Group):
    """The root group: a refusal ends with exit code 2 and one plain sentence, not with a trace."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name].partition(":")
            return getattr(import_module(module), attribute)
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.obj is None:
            ctx.obj = ScriptInfo(create_app=create_app, set_debug_flag=False)
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            click.echo(f"Error: {error}", err=True)
            raise SystemExit(REFUSED) from None
        except Exception as error:
            from app.tenancy.errors import FreeholdError

            if not isinstance(error, FreeholdError):
                raise
            click.echo(f"Error: {error or getattr(error, 'advice', '')}", err=True)
            raise SystemExit(REFUSED) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A home for many small organisations on one machine."""
    # Every process begins here, and what it makes (SQLite's files too) is for this user alone.
    os.umask(0o077)


@main.command("config")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show_config(as_json: bool) -> None:
    """Show every setting, its value here, and its reason."""
    config = asdict(Config.load(os.environ))
    if as_json:
        click.echo(json.dumps(config, default=str, indent=2))
        return
    for setting in SETTINGS:
        value = config[setting.field]
        click.echo(f"{setting.name}={value}\n    {setting.reason} Default: {setting.default or 'none'}.")


if __name__ == "__main__":
    main(prog_name="freehold")
