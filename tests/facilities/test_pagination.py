"""Long lists, a page at a time."""

import pytest
from sqlalchemy import select
from werkzeug.exceptions import NotFound

from app.content.models import Topic
from app.facilities.pagination import paginate
from app.tenancy import db, tenant_context


@pytest.fixture
def seven(app, alpha, beta):
    for tenant, count in ((alpha, 7), (beta, 40)):
        with app.app_context(), tenant_context(tenant):
            db.session.add_all(Topic(slug=f"t{number}", name=f"Topic {number}") for number in range(count))
            db.session.commit()
    with app.app_context(), tenant_context(alpha):
        yield select(Topic).order_by(Topic.slug)


def test_pages_are_full_but_for_the_last(seven):
    pages = [paginate(seven, page, 3) for page in (1, 2, 3)]
    assert [[topic.slug for topic in page.items] for page in pages] == [["t0", "t1", "t2"], ["t3", "t4", "t5"], ["t6"]]
    assert [(page.previous, page.next) for page in pages] == [(None, 2), (1, 3), (2, None)]
    assert {(page.pages, page.total) for page in pages} == {(3, 7)}


@pytest.mark.parametrize("page", [0, -1, 4, 10**12])
def test_a_page_that_is_not_there_is_not_found(seven, page):
    with pytest.raises(NotFound):
        paginate(seven, page, 3)


def test_an_empty_list_has_one_empty_page(seven):
    empty = paginate(seven.where(Topic.slug == "nothing"), 1, 3)
    assert (list(empty.items), empty.pages, empty.total, empty.previous, empty.next) == ([], 1, 0, None, None)


def test_several_columns_come_as_rows(seven):
    found = paginate(seven.with_only_columns(Topic.slug, Topic.name), 1, 2)
    assert [tuple(row) for row in found.items] == [("t0", "Topic 0"), ("t1", "Topic 1")]
