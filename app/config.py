"""Every setting of the platform, once: its name, its kind, its default and the reason for it.

`Config.load(os.environ)` is the only place where the environment is read. A bad value stops the start and is named.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CHECKOUT = Path(__file__).resolve().parent.parent
SOCKET_PATH_BYTES = 107  # Linux keeps a socket's path in 108 bytes, the last one a zero.
BY_HTTPS = ("Strict-Transport-Security", "max-age=31536000")  # of this host alone; those below it may be another's
LONGEST_SOCKET_NAME = "mail-in-admin.sock"
HALF_REBUILT = (
    "This installation is only half brought back from its copies. Run `freehold backups rebuild` again, with the same "
    "folder: it goes on where it stopped."
)


class ConfigError(Exception):
    """A setting has a value that cannot be used; the message names the setting and says what would do."""


@dataclass(frozen=True)
class Setting:
    """One setting: `name` in the environment, how its text is `read`, its `default` as text, and the `reason`."""

    name: str
    field: str
    read: Callable[[str], Any]
    default: str
    reason: str


def _text(value: str) -> str:
    return value.strip()


def _host(value: str) -> str:
    value = value.strip().lower().rstrip(".")
    if not value or "/" in value or ":" in value:
        raise ValueError("give a host name alone, such as console.example.org")
    return value


def _optional_host(value: str) -> str:
    return _host(value) if value.strip() else ""


def _path(value: str) -> Path:
    return Path(value).expanduser().resolve() if value.strip() else Path()


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"give a whole number from {least} to {most}") from None
        if not least <= number <= most:
            raise ValueError(f"give a whole number from {least} to {most}")
        return number

    return read


def _flag(value: str) -> bool:
    if value.strip().lower() in ("1", "yes", "true", "on"):
        return True
    if value.strip().lower() in ("", "0", "no", "false", "off"):
        return False
    raise ValueError("use 'yes' or 'no'")


def _level(value: str) -> str:
    if value.strip().lower() not in ("debug", "info", "warning", "error"):
        raise ValueError("use debug, info, warning or error")
    return value.strip().lower()


def _url(*schemes: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        value = value.strip()
        if value and value.split(":", 1)[0] not in schemes:
            raise ValueError("give an address that starts with " + " or ".join(f"{s}:" for s in schemes))
        try:
            urlsplit(value).port  # noqa: B018 (it is read to be checked)
        except ValueError:
            raise ValueError("its port is no number from 0 to 65535") from None
        return value

    return read


SETTINGS = (
    Setting(
        "FREEHOLD_HOME",
        "home",
        _path,
        str(CHECKOUT),
        "Folder of instance/ and tenants_data/; one per installation.",
    ),
    Setting("FREEHOLD_PLATFORM_HOST", "platform_host", _host, "platform.localhost", "Where the console answers."),
    Setting(
        "FREEHOLD_BASE_DOMAIN",
        "base_domain",
        _host,
        "localhost",
        "A new tenant also answers at <slug>.<base>.",
    ),
    Setting(
        "FREEHOLD_REDIS_URL",
        "redis_url",
        _url("redis", "rediss", "unix"),
        "",
        "Any Redis or Valkey; empty starts the embedded Valkey.",
    ),
    Setting(
        "FREEHOLD_MASTER_KEY_FILE",
        "master_key_file",
        _path,
        "",
        "32 bytes that wrap every key; instance/master.key when empty. Never inside tenants_data/.",
    ),
    Setting(
        "FREEHOLD_BACKUPS",
        "backups",
        _path,
        "",
        "Folder of the copies; backups/ in FREEHOLD_HOME when empty. Better on another disk.",
    ),
    Setting(
        "FREEHOLD_SMTP_URL",
        "smtp_url",
        _url("smtp", "smtps"),
        "",
        "Mail relay; empty writes to instance/outbox/.",
    ),
    Setting(
        "FREEHOLD_API_HOST",
        "api_host",
        _optional_host,
        "",
        "Reserved: a host where a token names the tenant.",
    ),
    Setting(
        "FREEHOLD_MAIL_IN",
        "mail_in",
        _url("smtp", "lmtp"),
        "smtp://127.0.0.1:8025",
        "Reserved: the listener for incoming mail, which is still to come.",
    ),
    Setting("PORT", "port", _whole(1, 65535), "8000", "Port of the front."),
    Setting("FREEHOLD_BIND", "bind", _text, "127.0.0.1", "Address of the front; loopback until you open it."),
    Setting("FREEHOLD_SECURE", "secure", _flag, "no", "Whether visitors come by https: cookies are then Secure."),
    Setting("FREEHOLD_WEB_WORKERS", "web_workers", _whole(1, 64), str(os.cpu_count() or 2), "One worker per core."),
    Setting(
        "FREEHOLD_WEB_THREADS",
        "web_threads",
        _whole(1, 32),
        "4",
        "Few: the work is short and the lock is one.",
    ),
    Setting(
        "FREEHOLD_WORKERS",
        "workers",
        _whole(1, 64),
        "4",
        "Jobs that run side by side; more than the cores, since most of them wait for a network.",
    ),
    Setting(
        "FREEHOLD_LIVE_CONNECTIONS",
        "live_connections",
        _whole(64, 200_000),
        "12000",
        "Open pages, uploads and downloads at once, at a descriptor each; fewer where `ulimit -Hn` is lower.",
    ),
    Setting(
        "FREEHOLD_MAX_OPEN_TENANTS",
        "max_open_tenants",
        _whole(4, 4096),
        "256",
        "Open files per process, at 3 descriptors each; a miss costs under 1 ms, so more buys little.",
    ),
    Setting(
        "FREEHOLD_PAGE_CACHE_BYTES",
        "page_cache_bytes",
        _whole(0, 1 << 32),
        str(32 << 20),
        "Memory per process for rendered public pages; 0 renders every time.",
    ),
    Setting("FREEHOLD_LOG_LEVEL", "log_level", _level, "info", "Least level of the log lines written."),
)


@dataclass(frozen=True)
class Config:
    """The settings of one installation, read and checked."""

    home: Path
    platform_host: str
    base_domain: str
    redis_url: str
    master_key_file: Path
    backups: Path
    smtp_url: str
    api_host: str
    mail_in: str
    port: int
    bind: str
    secure: bool
    web_workers: int
    web_threads: int
    workers: int
    live_connections: int
    max_open_tenants: int
    page_cache_bytes: int
    log_level: str

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Config:
        """Read all settings from `environ`; raises `ConfigError` that names the first bad one."""
        values: dict[str, Any] = {}
        for setting in SETTINGS:
            try:
                values[setting.field] = setting.read(environ.get(setting.name, setting.default))
            except ValueError as error:
                given = environ.get(setting.name, setting.default)
                raise ConfigError(f"{setting.name}={given!r} cannot be used: {error}.") from None
        if values["master_key_file"] == Path():
            values["master_key_file"] = values["home"] / "instance" / "master.key"
        if values["backups"] == Path():
            values["backups"] = values["home"] / "backups"
        config = cls(**values)
        if config.master_key_file.is_relative_to(config.tenants_data):
            raise ConfigError(
                "FREEHOLD_MASTER_KEY_FILE lies inside tenants_data/: whoever copies the data has the key too."
            )
        return config

    @property
    def instance(self) -> Path:
        """Folder of the registry, the ledger, the keyring and the sockets."""
        return self.home / "instance"

    @property
    def tenants_data(self) -> Path:
        """Folder of the tenants' files."""
        return self.home / "tenants_data"

    @property
    def rebuilding(self) -> Path:
        """Mark of an installation that is only half brought back from its copies; nothing starts on it."""
        return self.instance / "rebuilding"

    @property
    def run(self) -> Path:
        """Folder of the sockets: `instance/run`, or a short one elsewhere when that path is too long."""
        usual = self.instance / "run"
        if len(bytes(usual / LONGEST_SOCKET_NAME)) <= SOCKET_PATH_BYTES:
            return usual
        own = hashlib.sha256(bytes(self.home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"freehold-{os.getuid()}-{own}"

    @property
    def valkey_url(self) -> str:
        """Address of the Valkey or Redis: the one given, or the socket of the embedded one."""
        return self.redis_url or f"unix://{self.run / 'valkey.sock'}"

    def address(self, host: str) -> str:
        """Return the address at which browsers reach `host`."""
        if self.secure:
            return f"https://{host}"
        return f"http://{host}" + (f":{self.port}" if self.port != 80 else "")
