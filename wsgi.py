"""The application as gunicorn loads it. Behind the front, who the client is and how it came is in the headers of the front."""

import coloraide  # noqa: F401 (takes a while to load: once, before web forks)
from sqlalchemy.orm import configure_mappers
from werkzeug.middleware.proxy_fix import ProxyFix

from app import create_app

app = create_app()
configure_mappers()  # the same, and not while the first visitor waits
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1)  # type: ignore[method-assign]
