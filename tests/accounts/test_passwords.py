"""What a password is kept as. The other tests hash at the least cost there is; here the module is loaded as it is."""

from __future__ import annotations

import runpy
import subprocess
import sys
import time

import pytest

from app.accounts import create_owner
from app.accounts import passwords as module
from app.accounts.passwords import flaw, guesses
from tests.accounts.people import is_in, post
from tests.printed import filled_in

ABOUT = ("robin.owner@riverside.example", "Robin Owner", "Riverside Rowing Club", "riverside")
REAL = "$argon2id$v=19$m=19456,t=2,p=1$"  # OWASP's minimum


@pytest.fixture(scope="module")
def passwords():
    return runpy.run_path(module.__file__)


def test_a_password_is_hashed_at_the_cost_that_owasp_asks_for(passwords):
    assert passwords["hash_password"]("a long enough password").startswith(REAL)
    assert passwords["_nobody"].startswith(REAL), "whoever is unknown takes as long"


def test_a_password_matches_its_own_hash_alone(passwords):
    hashed, matches = passwords["hash_password"]("a long enough password"), passwords["matches"]
    assert matches(hashed, "a long enough password")
    assert not matches(hashed, "another long password")
    assert not matches("no hash", "a long enough password")
    assert not matches(None, "nobody has this password")


def test_somebody_unknown_takes_as_long_as_somebody_known(passwords):
    """The rest would tell a stranger who has an account."""
    hashed, matches = passwords["hash_password"]("a long enough password"), passwords["matches"]
    known, unknown = (quickest(lambda stored=stored: matches(stored, "wrong")) for stored in (hashed, None))
    assert unknown > known / 2


@pytest.mark.parametrize(
    "password",
    [
        "password1234",
        "passwordpassword",
        "P@ssw0rdP@ssw0rd",
        "aaaaaaaaaaaaaa",
        "qwertyuiopasdf",
        "123456789012",
        "1234567890!@",
        "summer2025summer",
        "密码密码密码密码密码密码",
        "Riverside Rowing Club",
        "riversiderowing1",
        "robin.owner@riverside.example",
        "robin owner 1984",
    ],
)
def test_what_is_guessed_soon_may_not_be_chosen(password):
    assert flaw(password, *ABOUT) == module.GUESSED


@pytest.mark.parametrize(
    "password",
    [
        "four unrelated words",
        "tide table in the hall",
        "a long enough password",
        "seven other unrelated words",
        "hX7!kq2#mW9z",
        "grüne Teekanne am Hafen",
        "密码很长的一个句子啊真的",
        "vier 12 Teekannen, 90 Schiffe & 345 Inseln",
        "x" * 12 + " marks what nobody finds " + "y" * 200,
    ],
)
def test_length_does_and_any_sign_of_any_language(password):
    assert flaw(password, *ABOUT) == ""


def test_no_common_password_that_is_long_enough_may_be_chosen():
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    common = [password for password in FREQUENCY_LISTS["passwords"] if len(password) >= module.SHORTEST]
    assert len(FREQUENCY_LISTS["passwords"]) > 25_000
    assert len(common) > 100
    assert [password for password in common if not flaw(password)] == []


def test_too_short_and_too_long_is_said_as_such():
    assert flaw("hX7!kq2#mW9") == module.TOO_SHORT
    assert flaw("four unrelated words " * 13) == module.TOO_LONG


def test_what_is_known_of_one_person_does_not_count_for_another():
    """The library's own entrance keeps the words of whoever asked last, for every organisation of the process."""
    without = guesses("riverside rowing club")
    assert guesses("riverside rowing club", *ABOUT) < 1e4 < without
    assert guesses("riverside rowing club") == without


@pytest.mark.parametrize("signs", ["4@8({[<3619!|70$5+2%", "1|7+", "l||ol7|oa55!||7a|!oa17$1"])
def test_no_password_keeps_a_process_busy(signs):
    assert timed(lambda: guesses((signs * 72)[:256])) < 1, "signs that stand for several letters once took seconds"


def test_the_list_of_words_is_not_loaded_until_somebody_chooses():
    code = "import sys, app.accounts, app.console.cli; sys.exit('zxcvbn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_every_form_asks_with_what_it_knows_of_the_person(alpha, at, signed_in, client_for):
    owner = signed_in(alpha)
    for guessed in ("password1234", "owner@alpha.test", "Alpha Alpha Alpha"):
        answer = post(owner, "/desk/profile/password", current="a long enough password", password=guessed)
        assert answer.status_code == 422
        assert "four unrelated words" in answer.text
    assert is_in(owner)
    token = at(alpha, lambda: create_owner("nora.newcomer@alpha.test"))
    for guessed, name in (("newcomer2024", ""), ("margaretamargareta1", "Margareta Quist")):
        browser = client_for(alpha)
        page = browser.get(f"/set-up/{token}")
        assert (
            browser.post(
                f"/set-up/{token}", data=filled_in(page.text, "password", password=guessed, name=name)
            ).status_code
            == 422
        )


def test_commands_refuse_it_too_and_leave_nothing_behind(runner, tenancy):
    made = ["tenants", "create", "gamma", "--name", "Gamma", "--owner", "gail@gamma.test", "--owner-password-stdin"]
    assert runner(*made, input="password1234\n").exit_code == 2
    assert tenancy.registry.by_slug("gamma") is None
    for guessed in ("password1234", "olive@platform.test"):
        answer = runner("operators", "create", "olive@platform.test", "--password-stdin", input=f"{guessed}\n")
        assert (answer.exit_code, module.GUESSED in answer.output) == (2, True)
    runner("operators", "create", "olive@platform.test")
    assert (
        runner("operators", "reset", "olive@platform.test", "--password-stdin", input="olive2024olive\n").exit_code == 2
    )


def quickest(act):
    return min(timed(act) for _ in range(5))


def timed(act):
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
