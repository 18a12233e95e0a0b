"""Rooms as members meet them: plain pages and forms."""

import pytest
from lxml.html import fromstring
from sqlalchemy import select

from app.accounts import User
from app.chat import Line, Room
from app.tenancy import db
from tests.chat.conftest import person, room
from tests.printed import filled_in


def lines_of(inside, tenant) -> list[str]:
    with inside(tenant):
        return list(db.session.scalars(select(Line.source).order_by(Line.id)))


def id_of(inside, tenant, name) -> int:
    with inside(tenant):
        return person(tenant, name).id


@pytest.mark.parametrize("path", ["", "rooms/1", "rooms/new", "lines/1"])
def test_visitors_are_asked_to_sign_in(alpha, say, client_for, path):
    say(alpha, "Quetzalcoatl")
    answer = client_for(alpha).get(f"/desk/chat/{path}")
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/sign-in")
    assert "Quetzalcoatl" not in answer.text


def test_visitors_change_nothing(alpha, say, client_for, inside):
    say(alpha, "Hello")
    for path in ("rooms/1/lines", "rooms/1/reading", "rooms/1/members", "lines/1", "lines/1/removal", "rooms/new"):
        answer = client_for(alpha).post(f"/desk/chat/{path}", data={"text": "planted", "name": "planted"})
        assert answer.status_code in (302, 403)
    assert lines_of(inside, alpha) == ["Hello"]


def test_chat_begins_in_general_and_is_kept_out_of_caches(alpha, start, signed_in):
    start(alpha, "Boats")
    browser = signed_in(alpha)
    assert browser.get("/desk/chat/").headers["Location"] == "/desk/chat/rooms/1#newest"
    answer = browser.get("/desk/chat/rooms/1")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "Nothing said yet" in answer.text


def test_a_line_is_sent_with_a_plain_form(alpha, signed_in, inside):
    browser = signed_in(alpha)
    form = filled_in(browser.get("/desk/chat/rooms/1").text, "text", text="Hello **all**")
    for _ in range(2):
        answer = browser.post("/desk/chat/rooms/1/lines", data=form)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/desk/chat/rooms/1#newest")
    assert lines_of(inside, alpha) == ["Hello **all**"]
    page = browser.get("/desk/chat/rooms/1").text
    assert "<strong>all</strong>" in page
    assert "Olive of Alpha Allotments" in page


def test_each_page_names_its_next_line_anew(alpha, signed_in):
    browser = signed_in(alpha)
    ids = {filled_in(browser.get("/desk/chat/rooms/1").text, "text")["client_id"] for _ in range(2)}
    assert len(ids) == 2


def test_a_script_gets_the_line_as_the_page_would_show_it(alpha, signed_in, send):
    answer = send(signed_in(alpha), "/desk/chat/rooms/1/lines", script=True, text="Hello", client_id="x")
    assert answer.status_code == 201
    assert answer.text.strip().startswith('<li class="line line-said line-opens-day" id="line-1" data-line="1"')


@pytest.mark.parametrize(("text", "complaint"), [("", "few words"), (" \n ", "few words"), ("x" * 10_001, "10,000")])
def test_a_line_that_cannot_be_sent_comes_back_with_its_text(alpha, signed_in, send, inside, text, complaint):
    answer = send(signed_in(alpha), "/desk/chat/rooms/1/lines", text=text)
    assert answer.status_code == 422
    assert complaint in answer.text
    assert text.strip() in answer.text
    assert lines_of(inside, alpha) == []


def test_text_with_browsers_line_ends_is_as_long_as_it_looks(alpha, signed_in, send, inside):
    text = "\r\n".join("x" * 99 for _ in range(100))
    assert send(signed_in(alpha), "/desk/chat/rooms/1/lines", text=text).status_code == 303
    assert lines_of(inside, alpha) == [text.replace("\r\n", "\n")]


def test_a_script_in_a_line_stays_text(alpha, say, signed_in):
    say(alpha, "<script>alert(1)</script> ![x](https://evil.example/x.png)")
    page = signed_in(alpha).get("/desk/chat/rooms/1").text
    assert "<script>alert" not in page
    assert "evil.example/x.png" not in " ".join(fromstring(page).xpath("//img/@src"))


def test_long_rooms_are_leafed_through(alpha, inside, signed_in):
    with inside(alpha):
        for number in range(90):
            room(1).say(f"Line {number}", by=person(alpha, "owner"))
    browser = signed_in(alpha)

    def shown(path: str) -> list[str]:
        return fromstring(browser.get(path).text).xpath("//li[@data-line]/@data-line")

    assert shown("/desk/chat/rooms/1") == [str(number) for number in range(51, 91)]
    assert shown("/desk/chat/rooms/1?before=51") == [str(number) for number in range(11, 51)]
    assert shown("/desk/chat/rooms/1?after=10") == [str(number) for number in range(11, 51)]
    assert "40" in shown("/desk/chat/rooms/1?at=40")
    newest, older = (browser.get(f"/desk/chat/rooms/1{query}").text for query in ("", "?at=40"))
    assert 'id="room-1-lines"' in newest
    assert 'id="room-1-lines"' not in older, "what is new does not belong under what is old"


@pytest.mark.parametrize("query", ["at=x", "at=-1", "at=", "before=99999999999999999999999", "after=٣", "at=0"])
def test_a_place_that_is_none_shows_the_room(alpha, say, signed_in, query):
    say(alpha, "Hello")
    answer = signed_in(alpha).get(f"/desk/chat/rooms/1?{query}")
    assert answer.status_code == 200
    assert "Hello" in answer.text


def test_unread_lines_are_counted_and_marked_until_they_are_read(alpha, people, start, say, browser_of, send):
    people(alpha, "Ann")
    boats = start(alpha, "Boats")
    say(alpha, "One", room_id=boats), say(alpha, "Two", room_id=boats)
    browser = browser_of(alpha, "Ann")

    def unread() -> list[str]:
        return fromstring(browser.get(f"/desk/chat/rooms/{boats}").text).xpath(
            f"//a[@data-room='{boats}']/span[@data-count]/@data-count"
        )

    assert unread() == ["2"]
    page = browser.get(f"/desk/chat/rooms/{boats}").text
    assert "Mark as read" in page
    form = filled_in(page, "line")
    assert browser.post(f"/desk/chat/rooms/{boats}/reading", data=form).status_code == 303
    assert unread() == ["0"]
    assert "Mark as read" not in browser.get(f"/desk/chat/rooms/{boats}").text.split("<template")[0]
    assert send(browser, f"/desk/chat/rooms/{boats}/reading", script=True, line="x").status_code == 204


def test_more_than_a_hundred_unread_lines_are_99_plus(alpha, people, inside, browser_of):
    people(alpha, "Ann")
    with inside(alpha):
        for number in range(101):
            room(1).say(str(number), by=person(alpha, "owner"))
    page = browser_of(alpha, "Ann").get("/desk/chat/rooms/1").text
    assert ">99+<" in page
    assert 'href="/desk/chat/rooms/1?at=1#line-1"' in page


def test_a_room_is_opened_with_a_form(alpha, signed_in, inside):
    browser = signed_in(alpha)
    form = filled_in(browser.get("/desk/chat/rooms/new").text, "name", name="Boats")
    answer = browser.post("/desk/chat/rooms/new", data=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/desk/chat/rooms/2")
    again = browser.post("/desk/chat/rooms/new", data=form | {"name": " BOATS "})
    assert again.status_code == 422
    assert "There is a room called “BOATS” already" in again.text
    assert browser.post("/desk/chat/rooms/new", data=form | {"name": ""}).status_code == 422
    with inside(alpha):
        assert Room.count() == 2


def test_a_closed_room_is_not_found_by_those_outside(alpha, people, start, say, browser_of, signed_in, send, inside):
    people(alpha, "Ann")
    board = start(alpha, "Board", by="Ann", closed=True)
    line = say(alpha, "Quetzalcoatl", by="Ann", room_id=board)
    owner = signed_in(alpha)
    for path in (f"rooms/{board}", f"lines/{line}"):
        assert owner.get(f"/desk/chat/{path}").status_code == 404
    me = id_of(inside, alpha, "owner")
    for path in ("lines", "reading", "members", f"members/{me}/removal"):
        answer = send(owner, f"/desk/chat/rooms/{board}/{path}", text="planted", person=str(me), line="1")
        assert answer.status_code == 404
    for path in ("", "/removal"):
        assert send(owner, f"/desk/chat/lines/{line}{path}", text="planted").status_code == 404
    page = owner.get("/desk/chat/rooms/1").text
    assert "Board" not in page
    assert lines_of(inside, alpha) == ["Quetzalcoatl"]
    assert "Quetzalcoatl" in browser_of(alpha, "Ann").get(f"/desk/chat/rooms/{board}").text


def test_people_are_let_into_a_closed_room_and_taken_out(alpha, people, start, browser_of, inside):
    people(alpha, "Ann", "Ben")
    board = start(alpha, "Board", by="Ann", closed=True)
    ann, ben = browser_of(alpha, "Ann"), browser_of(alpha, "Ben")
    assert ben.get(f"/desk/chat/rooms/{board}").status_code == 404
    form = filled_in(ann.get(f"/desk/chat/rooms/{board}").text, "person", person=str(id_of(inside, alpha, "Ben")))
    assert ann.post(f"/desk/chat/rooms/{board}/members", data=form).status_code == 303
    assert ben.get(f"/desk/chat/rooms/{board}").status_code == 200
    path = f"/desk/chat/rooms/{board}/members/{id_of(inside, alpha, 'Ben')}/removal"
    assert ann.post(path, data={"csrf_token": form["csrf_token"]}).status_code == 303
    assert ben.get(f"/desk/chat/rooms/{board}").status_code == 404


def test_members_take_themselves_out_but_not_one_another(alpha, people, start, browser_of, send, inside):
    people(alpha, "Ann", "Ben", "Cat")
    board = start(alpha, "Board", by="Ann", closed=True, members=("Ben", "Cat"))
    ben, path = browser_of(alpha, "Ben"), f"/desk/chat/rooms/{board}/members"
    assert send(ben, f"{path}/{id_of(inside, alpha, 'Cat')}/removal").status_code == 403
    answer = send(ben, f"{path}/{id_of(inside, alpha, 'Ben')}/removal")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/desk/chat/")
    with inside(alpha):
        assert [each.name for each in room(board).members()] == ["Ann", "Cat"]


@pytest.mark.parametrize("given", ["", "0", "x", "99", "99999999999999999999"])
def test_somebody_who_is_not_here_cannot_be_let_in(alpha, start, signed_in, send, given):
    board = start(alpha, "Board", closed=True)
    assert send(signed_in(alpha), f"/desk/chat/rooms/{board}/members", person=given).status_code == 404


def test_whoever_was_closed_out_cannot_be_let_in(alpha, people, start, signed_in, send, inside):
    people(alpha, "Ann")
    board, ann = start(alpha, "Board", closed=True), id_of(inside, alpha, "Ann")
    with inside(alpha):
        db.session.get(User, ann).state = "closed"
    browser = signed_in(alpha)
    assert send(browser, f"/desk/chat/rooms/{board}/members", person=str(ann)).status_code == 404
    assert ">Ann<" not in browser.get(f"/desk/chat/rooms/{board}").text


def test_ones_own_line_is_changed_with_a_form(alpha, say, signed_in, inside):
    line = say(alpha, "Helo")
    browser = signed_in(alpha)
    page = browser.get(f"/desk/chat/lines/{line}").text
    form = filled_in(page, "text")
    assert form["text"].strip() == "Helo"
    answer = browser.post(f"/desk/chat/lines/{line}", data=form | {"text": "Hello"})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/desk/chat/rooms/1?at={line}#line-{line}")
    assert lines_of(inside, alpha) == ["Hello"]
    assert browser.post(f"/desk/chat/lines/{line}", data=form | {"text": ""}).status_code == 422
    assert "edited" in browser.get("/desk/chat/rooms/1").text


def test_a_removed_line_leaves_a_note_and_can_be_sent_away_again(alpha, say, signed_in, send, inside):
    line = say(alpha, "Quetzalcoatl")
    browser = signed_in(alpha)
    for _ in range(2):
        assert send(browser, f"/desk/chat/lines/{line}/removal").status_code == 303
    page = browser.get("/desk/chat/rooms/1").text
    assert "This line was removed." in page
    assert "Quetzalcoatl" not in page
    assert browser.get(f"/desk/chat/lines/{line}").status_code == 303


def test_members_touch_nobody_elses_words_and_owners_remove_them(
    alpha, people, say, browser_of, signed_in, send, inside
):
    people(alpha, "Ann", "Ben")
    line = say(alpha, "Hello", by="Ann")
    ben, owner = browser_of(alpha, "Ben"), signed_in(alpha)
    assert ben.get(f"/desk/chat/lines/{line}").status_code == 403
    assert send(ben, f"/desk/chat/lines/{line}", text="planted").status_code == 403
    assert send(ben, f"/desk/chat/lines/{line}/removal").status_code == 403
    assert send(owner, f"/desk/chat/lines/{line}", text="planted").status_code == 403
    assert lines_of(inside, alpha) == ["Hello"]
    assert "Remove this line" in owner.get(f"/desk/chat/lines/{line}").text
    assert send(owner, f"/desk/chat/lines/{line}/removal").status_code == 303
    assert lines_of(inside, alpha) == [""]


@pytest.mark.parametrize("path", ["rooms/99", "rooms/0", f"rooms/{1 << 62}", f"rooms/{1 << 70}", "lines/99", "rooms/x"])
def test_what_is_not_here_is_not_found(alpha, signed_in, path):
    assert signed_in(alpha).get(f"/desk/chat/{path}").status_code == 404


def test_the_other_house_keeps_its_rooms_to_itself(alpha, beta, say, start, signed_in, send, inside):
    say(alpha, "Quetzalcoatl"), start(alpha, "Boats")
    browser = signed_in(beta)
    assert "Quetzalcoatl" not in browser.get("/desk/chat/rooms/1").text
    assert browser.get("/desk/chat/rooms/2").status_code == 404
    assert send(browser, "/desk/chat/lines/1", text="planted").status_code == 404
    assert lines_of(inside, alpha) == ["Quetzalcoatl"]


def test_a_full_disk_refuses_a_line_and_keeps_what_is_there(small_disk, alpha, say, signed_in, send, inside):
    say(alpha, "Before")
    browser = signed_in(alpha)
    (small_disk / "ballast").write_bytes(b"")
    with pytest.raises(OSError), (small_disk / "ballast").open("wb") as ballast:
        while True:
            ballast.write(b"x" * 4096)
            ballast.flush()
    answer = browser.post(
        "/desk/chat/rooms/1/lines",
        data=filled_in(browser.get("/desk/chat/rooms/1").text, "text", text="After " + "x" * 9_000),
    )
    assert answer.status_code in (403, 507)
    (small_disk / "ballast").unlink()
    assert lines_of(inside, alpha) == ["Before"]
