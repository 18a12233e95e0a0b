"""A session that ends is over in every process at once: web's workers and live, each a process of its own."""

import threading
import time
from contextlib import closing

from app.accounts import User, hash_password
from app.serve import live, web
from app.tenancy import db
from tests.accounts.people import join
from tests.conftest import _client, sign_in
from tests.running import descendants, until
from tests.serve.running import ask_for, connect, head_of, running


class Heard(threading.Thread):
    """Reads a stream to its end."""

    def __init__(self, line):
        super().__init__(daemon=True)
        self.line, self.said, self.over_at = line, b"", float("inf")
        self.start()

    def run(self):
        while piece := self.line.recv(65536):
            self.said += piece
        self.over_at = time.monotonic()


def status(module, config, host, cookie, path="/desk/profile/"):
    with closing(connect(module.socket_path(config))) as line:
        line.sendall(ask_for(path, host, cookie))
        return int(head_of(line)[0].split()[1])


def everywhere(config, host, cookie):
    """Return how each of many requests is answered, so many that every worker has some."""
    answers = []

    def ask(module):
        for _ in range(6):
            answers.append(status(module, config, host, cookie))

    threads = [threading.Thread(target=ask, args=[module]) for module in (web, web, web, live)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return set(answers)


def new_password(at, app, tenant, person):
    hashed = hash_password("seven other unrelated words")
    at(tenant, lambda: db.session.get(User, person).set_password(hashed))


def another_role(at, app, tenant, person):
    at(tenant, lambda: db.session.get(User, person).give_role("editor", by=db.session.get(User, 1)))


def removal(at, app, tenant, person):
    at(tenant, lambda: db.session.get(User, person).remove(by=db.session.get(User, 1)))


def deactivation(at, app, tenant, person):
    at(tenant, lambda: db.session.get(User, person).deactivate(by=db.session.get(User, 1)))


def signed_out_elsewhere(at, app, tenant, person):
    at(tenant, lambda: db.session.get(User, person).forget_devices())


def suspension(at, app, tenant, person):
    with app.app_context():
        app.extensions["tenancy"].lifecycle.suspend(tenant.slug, "late")


ENDS = (new_password, another_role, removal, deactivation, signed_out_elsewhere, suspension)  # which ends everybody's


def test_it_is_over_in_every_process_at_once_and_so_is_its_stream(app, at, alpha, beta, config):
    def header(tenant, email):
        browser = _client(app, tenant.primary_host)
        sign_in(browser, email)
        return f"Cookie: freehold={browser.get_cookie('freehold', domain=browser.host).value}\r\nConnection: close\r\n"

    people = [(end, join(at, alpha, f"{end.__name__}@example.test")) for end in ENDS]
    cookies = {end: header(alpha, f"{end.__name__}@example.test") for end in ENDS}
    elsewhere = header(beta, "owner@beta.test")
    with running(config, web, live) as (web_process, _):
        until(lambda: len(descendants(web_process.pid)) >= 2)
        for end, person in people:
            with closing(connect(live.socket_path(config))) as stream:
                stream.sendall(ask_for("/live", alpha.primary_host, cookies[end]))
                assert head_of(stream)[0].startswith("HTTP/1.1 200 ")
                assert everywhere(config, alpha.primary_host, cookies[end]) == {200}
                heard = Heard(stream)
                end(at, app, alpha, person)
                began = time.monotonic()
                assert everywhere(config, alpha.primary_host, cookies[end]) == {503 if end is suspension else 302}, end
                heard.join(5)
                assert b"event: end" in heard.said, end
                assert heard.over_at - began < 1.5, end
        assert everywhere(config, beta.primary_host, elsewhere) == {200}
