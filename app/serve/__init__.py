"""`freehold serve` and `freehold run`: the processes of one installation, started, watched and stopped."""

from app.serve.commands import run, serve

__all__ = ["run", "serve"]
