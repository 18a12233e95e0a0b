"""Pictures of people: what becomes of what they send, who sees it, and that nothing of it stays when they go."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select

from app.accounts import Role, User, pictures
from app.branding import Site
from app.chat.models import Room
from app.console import caps
from app.facilities import images, storage
from app.facilities.rates import Rate
from app.tenancy import db, platform_context
from app.tenancy.locks import file_lock
from app.tenancy.registry import Tenant
from tests.accounts.people import acts, browser_of, join, post

PLACE = 0x8825  # the part of a photograph that says where it was taken (EXIF 2.3, GPS IFD)
TURNED = 0x0112  # the part that says how the camera was held


def photograph(form: str = "JPEG", size: tuple[int, int] = (600, 300), turned: int = 1) -> bytes:
    """Return a picture whose left half is red and whose right one is blue, taken somewhere."""
    picture, file, notes = Image.new("RGB", size, "red"), io.BytesIO(), Image.Exif()
    picture.paste("blue", (size[0] // 2, 0, *size))
    notes[TURNED] = turned
    notes.get_ifd(PLACE)[1] = "N"
    picture.save(file, form, exif=notes)
    return file.getvalue()


def send(browser: Any, data: bytes) -> Any:
    answer = post(browser, "/desk/profile/picture", picture=(io.BytesIO(data), "me.jpg"))
    answer.request.environ["wsgi.input"].close()  # the test client's own file
    return answer


def address_of(at: Any, tenant: Any, user_id: int = 1) -> str:
    return at(tenant, lambda: db.session.get(User, user_id).picture)


def names(at: Any, tenant: Any) -> list[str]:
    return at(tenant, lambda: list(db.session.scalars(select(storage.StoredFile.name))))


@pytest.fixture
def sealed(tenancy):
    """Return the names of the sealed files that lie in a tenant's folder."""
    return lambda tenant: {file.name for file in (tenancy.placements.folder(tenant.id) / "files").glob("*/*")}


def test_a_picture_is_made_small_square_and_silent_and_stands_for_its_person(
    at, alpha, beta, signed_in, client_for, app
):
    owner = signed_in(alpha)
    mia = join(at, alpha)
    assert send(owner, photograph(turned=6)).status_code == 303
    address = address_of(at, alpha)
    answer = owner.get(address)
    assert (answer.mimetype, answer.headers["Cache-Control"]) == ("image/webp", "private, max-age=31536000, immutable")
    with Image.open(io.BytesIO(answer.data)) as shown:
        assert (shown.size, dict(shown.getexif()), "icc_profile" in shown.info) == ((256, 256), {}, False)
        above, below = (shown.convert("RGB").getpixel((128, y)) for y in (10, 245))
        assert above[0] > 200 > 60 > above[2], "it stands as the camera was held"
        assert below[2] > 200 > 60 > below[0]
    at(alpha, lambda: db.session.scalar(select(Room)).say("Good morning", by=db.session.get(User, 1)))
    other = browser_of(app, alpha, "mia@example.test")
    assert other.get(address).data == answer.data
    for page in ("/desk/people/", "/desk/chat/rooms/1"):
        assert f'src="{address}"' in other.get(page).text, page
    assert f'src="{address}"' in owner.get("/desk/").text
    assert client_for(alpha).get(address).status_code == 302, "visitors are asked to sign in"
    assert signed_in(beta).get(address).status_code == 404
    assert other.get(f"/desk/people/{mia}/picture-{address[-16:]}").status_code == 404
    assert "picture_changed" in acts(at, alpha)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_other_kinds_of_picture_are_taken_too(at, alpha, signed_in, form):
    owner = signed_in(alpha)
    assert send(owner, photograph(form)).status_code == 303
    assert owner.get(address_of(at, alpha)).mimetype == "image/webp"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "choose a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "JPEG, PNG or WebP"),
        (b"GIF89a" + bytes(64), "JPEG, PNG or WebP"),
        (photograph()[:400], "JPEG, PNG or WebP"),
        (photograph("PNG", (8000, 5001)), "too many pixels"),
        (b"\xff\xd8\xff" + bytes(10 << 20), "more than 10 MB"),
    ],
    ids=["nothing", "drawing", "animation", "cut short", "too many pixels", "too large"],
)
def test_what_is_no_picture_is_refused_with_the_reason_and_keeps_nothing(at, alpha, signed_in, data, said):
    page = send(signed_in(alpha), data) if data else post(signed_in(alpha), "/desk/profile/picture")
    assert (page.status_code, said in page.text) == (422, True)
    assert names(at, alpha) == []


def test_a_picture_whose_notes_have_the_reader_stumble_is_refused_plainly(signed_in, alpha):
    turned, width_in_words = (TURNED, 3, 1, b"\6\0\0\0"), (0x0100, 2, 4, b"abc\0")
    notes = b"".join(struct.pack("<HHI4s", *note) for note in (turned, width_in_words))
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\2\0" + notes + bytes(4))
    answer = send(signed_in(alpha), file.getvalue())
    assert (answer.status_code, "not a picture that can be read" in answer.text) == (422, True)


def test_pictures_are_made_one_at_a_time_on_the_whole_machine(config, at, alpha, signed_in, monkeypatch):
    monkeypatch.setattr(images, "PATIENCE", 0.1)
    with file_lock(config.instance / "locks" / "picture"):
        answer = send(signed_in(alpha), photograph())
    assert (answer.status_code, "Many pictures" in answer.text) == (422, True)
    assert names(at, alpha) == []


def test_a_picture_is_changed_so_many_times_a_day_for_the_copies_keep_each(at, alpha, signed_in, monkeypatch):
    monkeypatch.setattr(pictures, "A_DAY", Rate("pictures", 1, 86400, "Very often."))
    owner = signed_in(alpha)
    assert [send(owner, photograph(turned=turned)).status_code for turned in (1, 3)] == [303, 422]
    assert len(names(at, alpha)) == 1


def test_whoever_may_not_see_who_is_here_finds_no_picture_by_counting(at, alpha, signed_in, app):
    send(signed_in(alpha), photograph())
    role = at(alpha, lambda: Role.make("Helper", ["chat.talk"], by=db.session.get(User, 1)).key)
    join(at, alpha, role=role)
    helper, address = browser_of(app, alpha, "mia@example.test"), address_of(at, alpha)
    assert helper.get("/desk/people/1/picture-0000000000000000").status_code == 404
    assert helper.get(address).status_code == 200, "whoever was shown it, as in a room, sees it"


def test_no_picture_is_taken_when_the_plan_has_no_room(app, at, alpha, signed_in):
    with app.app_context(), platform_context():
        caps.grant(db.session.get(Tenant, alpha.id), "storage", 1, "a test", None, "operator@platform.test")
    for data in (photograph(), b"not even a picture"):  # nothing is looked at before
        answer = send(signed_in(alpha), data)
        assert (answer.status_code, "Storage" in answer.text) == (403, True)
    assert address_of(at, alpha) == ""


def test_who_is_removed_while_their_picture_is_looked_at_gets_none(at, alpha, signed_in, app, monkeypatch):
    signed_in(alpha)
    mia, read = join(at, alpha), pictures.prepared

    def remove_meanwhile(stream):
        at(alpha, lambda: db.session.get(User, mia).remove(by=db.session.get(User, 1)))
        return read(stream)

    monkeypatch.setattr(pictures, "prepared", remove_meanwhile)
    assert "no longer signed in" in send(browser_of(app, alpha, "mia@example.test"), photograph()).text
    assert (address_of(at, alpha, mia), names(at, alpha)) == ("", [])


def test_another_picture_takes_the_place_and_the_one_before_is_gone(at, alpha, signed_in, work, sealed):
    owner = signed_in(alpha)
    send(owner, photograph())
    before, [old] = address_of(at, alpha), names(at, alpha)
    send(owner, photograph(turned=3))
    work(alpha)
    [new] = names(at, alpha)
    assert sealed(alpha) == {new} != {old}
    answer = owner.get(before)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "private, no-store"), (
        "not kept by an old address"
    )
    post(owner, "/desk/profile/picture/removal")
    work(alpha)
    assert (names(at, alpha), sealed(alpha), address_of(at, alpha)) == ([], set(), "")


def test_a_picture_goes_with_its_person_unless_something_else_shows_the_same(at, alpha, signed_in, app, work, sealed):
    signed_in(alpha)
    mia = join(at, alpha)
    browser = browser_of(app, alpha, "mia@example.test")
    send(browser, photograph())
    post(browser, "/desk/profile/reading", language="de", time_zone="Asia/Tokyo")
    [name] = names(at, alpha)
    at(alpha, lambda: Site.mine().set_logo(storage.find(name)))
    at(alpha, lambda: db.session.get(User, mia).remove(by=db.session.get(User, 1)))
    work(alpha)
    assert sealed(alpha) == {name}
    gone = at(alpha, lambda: db.session.get(User, mia))
    assert (gone.picture_name, gone.language, gone.time_zone) == (None, "en-GB", "")
    at(alpha, lambda: Site.mine().set_logo(None))
    at(alpha, lambda: storage.forget(name))
    work(alpha)
    assert (names(at, alpha), sealed(alpha)) == ([], set())


def test_a_file_put_again_before_its_bytes_were_cleared_stays(at, alpha, signed_in, work, sealed):
    def put_again() -> str:
        name = storage.put(b"the same words").name
        db.session.flush()
        storage.forget(name)
        return storage.put(b"the same words").name

    name = at(alpha, put_again)
    work(alpha)
    assert sealed(alpha) == {name}
    assert at(alpha, lambda: storage.read(name)) == b"the same words"
