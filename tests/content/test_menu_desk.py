"""Arranging the menu with plain forms."""

import pytest
from sqlalchemy import select

from app.content.models import MenuItem
from app.tenancy import db
from tests.printed import filled_in


@pytest.fixture
def line_id(inside):
    def find(tenant, label) -> int:
        with inside(tenant):
            return db.session.scalars(select(MenuItem.id).where(MenuItem.label == label)).one()

    return find


def menu_of(client_for, tenant) -> str:
    return client_for(tenant).get("/posts/").text.split('aria-label="Main"')[1].split("</nav>")[0]


def add(browser, **fields):
    page = browser.get("/desk/content/menu").text
    return browser.post("/desk/content/menu/lines", data=filled_in(page, "target", **fields))


def test_a_page_a_topic_and_an_address_are_added(alpha, signed_in, client_for, publish):
    entry = publish(alpha, "page", "Prices")
    browser = signed_in(alpha)
    assert add(browser, target=f"entry:{entry}").status_code == 303
    assert add(browser, target="", url="https://shop.example", label="Shop").status_code == 303
    menu = menu_of(client_for, alpha)
    assert '<a href="/prices">Prices</a>' in menu
    assert '<a href="https://shop.example">Shop</a>' in menu


@pytest.mark.parametrize("url", ["", "javascript:alert(1)", "//evil.example", "data:text/html,x", "shop", "http://["])
def test_an_address_that_leads_nowhere_good_is_refused(alpha, signed_in, url):
    answer = add(signed_in(alpha), target="", url=url, label="Bad")
    assert answer.status_code == 422
    assert 'id="url-error"' in answer.text


def test_a_page_that_is_not_here_cannot_be_added(alpha, signed_in):
    assert add(signed_in(alpha), target="entry:9999").status_code == 422


def test_lines_move_nest_are_renamed_and_removed(alpha, signed_in, client_for, send, line_id):
    browser = signed_in(alpha)
    for label in ("Shop", "Help"):
        add(browser, target="", url=f"https://{label.lower()}.example", label=label)
    path = f"/desk/content/menu/lines/{line_id(alpha, 'Help')}"
    send(browser, f"{path}/place", to="up")
    menu = menu_of(client_for, alpha)
    assert menu.index("Help") < menu.index("Shop")
    send(browser, f"{path}/place", to="in")
    assert "More under Contact" in menu_of(client_for, alpha)
    send(browser, f"{path}/place", to="out")
    assert "More under Contact" not in menu_of(client_for, alpha)
    send(browser, path, label="Support")
    assert "Support" in menu_of(client_for, alpha)
    send(browser, f"{path}/removal")
    assert "Support" not in menu_of(client_for, alpha)
    assert send(browser, f"{path}/place", to="up").status_code == 404


def test_a_move_that_does_not_exist_changes_nothing(alpha, signed_in, send, line_id):
    path = f"/desk/content/menu/lines/{line_id(alpha, 'News')}/place"
    assert send(signed_in(alpha), path, to="sideways").status_code == 422


def test_a_move_that_is_not_possible_is_refused_with_advice(alpha, signed_in, send, line_id):
    answer = send(signed_in(alpha), f"/desk/content/menu/lines/{line_id(alpha, 'Home')}/place", to="in")
    assert answer.status_code == 409


def test_the_other_houses_lines_are_not_found(alpha, beta, signed_in, send, inside, line_id):
    with inside(beta):
        MenuItem.add("Extra", url="/extra")
    extra = line_id(beta, "Extra")
    assert send(signed_in(alpha), f"/desk/content/menu/lines/{extra}/removal").status_code == 404
    assert line_id(beta, "Extra") == extra
