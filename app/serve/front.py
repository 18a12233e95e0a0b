"""Front: Caddy. It meets the visitors, waits for the slow ones, and hands whole requests to web, long ones to live.

Request and response bodies of up to 1 MiB are held here for web: without that, ten slow phones occupy every thread of it and
all tenants wait. What may be longer goes to live, where a slow one costs little, and is passed on as it comes: event streams,
files, and bodies above 1 MiB, or of a length not told, which are taken on the desk alone. Path, method and length of the body
decide that; nothing else that a client says does. The client's own forwarding headers are dropped, its Host is kept.
"""

from __future__ import annotations

import shutil
import socket
import sys
from pathlib import Path
from string import Template

from app.config import BY_HTTPS, CHECKOUT, Config
from app.serve import live, web
from app.serve.folders import CannotServe

BUFFER = "1MiB"
BUFFER_BYTES = 1 << 20

CADDYFILE = Template("""\
# Written by `freehold` at each start; changes made here are lost.
{
	admin off
	persist_config off
	auto_https off
	skip_install_trust
	grace_period 3s
	storage file_system "$storage"
	log {
		output stderr
		format json
		level ERROR
	}
	servers {
		timeouts {
			read_header 10s
			idle 2m
		}
	}
}

(upstream) {
	lb_try_duration 10s
	lb_try_interval {args[0]}
	transport http {
		keepalive 60s
		dial_timeout 2s
	}
}

$sites {
	bind $bind
	header {
		-Server
		-Via
		$by_https
		defer
	}

	handle_path /static/* {
		root * "$checkout/static"
		header X-Content-Type-Options nosniff
		@versioned query v=*
		@plain not query v=*
		header @plain Cache-Control no-cache
		header @versioned Cache-Control "public, max-age=31536000, immutable"
		encode zstd gzip
		file_server
	}

	@visitors not path /desk/*
	request_body @visitors {
		max_size $buffer
	}
	request_header -Forwarded
	request_header -X-Forwarded-*
	request_header -X-Real-Ip

	@streams {
		path /live
		method GET HEAD
	}
	handle @streams {
		reverse_proxy "unix/$live" {
			flush_interval -1
			lb_try_duration 10s
			lb_try_interval 250ms
			transport http {
				dial_timeout 2s
				read_buffer 512
				write_buffer 512
			}
		}
	}

	@files {
		path /files/*
		method GET HEAD
	}
	handle @files {
		reverse_proxy "unix/$live" {
			import upstream 250ms
		}
	}

	@large {
		path /desk/*
		method POST PUT PATCH
		expression `{http.request.header.Content-Length} == "" || int({http.request.header.Content-Length}) > $buffer_bytes`
	}
	handle @large {
		reverse_proxy "unix/$live" {
			import upstream 250ms
		}
	}

	handle {
		encode zstd gzip
		reverse_proxy "unix/$web" {
$buffers
			flush_interval 0
			import upstream 100ms
		}
	}

	handle_errors 502 503 504 {
		header Retry-After 5
		header Cache-Control no-store
		respond "This site is back in a moment." 503
	}
}
""")


def command(config: Config) -> list[str]:
    """Write the configuration; return the command line. Raises `CannotServe` when Caddy is missing."""
    file = config.run / "Caddyfile"
    file.write_text(configuration(config))
    return [str(_binary()), "run", "--adapter", "caddyfile", "--config", str(file)]


def configuration(config: Config, *, buffer: str | None = BUFFER) -> str:
    """Return Caddy's configuration; `buffer` is the size up to which bodies are held, None to stream them."""
    buffers = [f"\t\t\trequest_buffers {buffer}", f"\t\t\tresponse_buffers {buffer}"] if buffer else []
    return CADDYFILE.substitute(
        sites=sites(config),
        bind=config.bind,
        storage=config.instance / "front",
        checkout=CHECKOUT,
        web=web.socket_path(config),
        live=live.socket_path(config),
        by_https='{} "{}"'.format(*BY_HTTPS) if config.secure else "",
        buffer=BUFFER,
        buffer_bytes=BUFFER_BYTES,
        buffers="\n".join(buffers),
    )


def sites(config: Config) -> str:
    """Return the addresses that are answered: every host by http. Certificates for custom domains will join here."""
    return f"http://:{config.port}"


def is_ready(config: Config) -> bool:
    """Return whether it accepts connections."""
    try:
        with socket.create_connection((_reachable(config.bind), config.port), timeout=0.2):
            return True
    except OSError:
        return False


def refuse_taken_port(config: Config) -> None:
    """Raise `CannotServe` when another program listens on the port."""
    if is_ready(config):
        raise CannotServe(
            f"Port {config.port} is taken by another program. Choose another one, such as PORT={config.port + 1} make demo."
        )


def _reachable(bind: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104


def _binary() -> Path:
    beside = Path(sys.executable).with_name("caddy")
    found = beside if beside.exists() else shutil.which("caddy")
    if not found:
        raise CannotServe("Caddy is missing. Run `make setup`; it comes with the locked dependencies.")
    return Path(found)
