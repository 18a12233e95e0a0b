"""Pictures and documents: for those who may read a page that shows them."""

import io

import pytest
from PIL import Image
from sqlalchemy import select

from app.content.models import Entry, Media
from app.facilities import storage
from app.tenancy import db, tenancy


def picture(colour: str = "teal") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(target, "PNG")
    return target.getvalue()


@pytest.fixture
def store(inside):
    """Keep bytes as media of a tenant and return their address."""

    def keep(tenant, data: bytes, name: str, mime: str = "") -> str:
        with inside(tenant):
            stored = storage.put(data, mime)
            db.session.add(Media(name=name, mime=stored.mime, stored_name=stored.name))
            return f"/files/{stored.name}/{name}"

    return keep


def test_a_picture_on_a_public_page_is_given_to_visitors(alpha, client_for, publish, store):
    address = store(alpha, picture(), "plot.png")
    publish(alpha, "page", "Plots", f"![Our plots]({address})")
    answer = client_for(alpha).get(address)
    assert answer.data == picture()
    assert answer.mimetype == "image/png"
    assert answer.headers["Content-Length"] == str(len(picture()))
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("inline")
    again = client_for(alpha).get(address, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("how", ["nowhere", "draft", "members", "trashed"])
def test_a_picture_that_no_public_page_shows_is_hidden_from_visitors(
    alpha, client_for, signed_in, publish, change, store, how
):
    address = store(alpha, picture(), "plot.png")
    if how != "nowhere":
        visibility = "members" if how == "members" else "public"
        entry = publish(alpha, "page", "Plots", f"![x]({address})", draft=how == "draft", visibility=visibility)
        if how == "trashed":
            assert client_for(alpha).get(address).status_code == 200
            change(alpha, entry, "trash")
    visitor = client_for(alpha)
    assert visitor.get(address).status_code == 404
    assert visitor.get(address, headers={"If-None-Match": f'"{address.split("/")[2]}"'}).status_code == 404
    answer = signed_in(alpha).get(address)
    assert answer.data == picture()
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_the_same_picture_in_the_other_house_is_another_file(alpha, beta, client_for, signed_in, publish, store):
    addresses = [store(tenant, picture(), "plot.png") for tenant in (alpha, beta)]
    assert addresses[0] != addresses[1]
    publish(beta, "page", "Plots", f"![x]({addresses[1]}) ![y]({addresses[0]})")
    assert client_for(alpha).get(addresses[1]).status_code == 404
    assert client_for(beta).get(addresses[0]).status_code == 404
    assert signed_in(alpha).get(addresses[1]).status_code == 404


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<html><script>alert(1)</script></html>", "page.html"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "logo.svg"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", "minutes.pdf"),
    ],
)
def test_what_a_browser_might_run_is_only_ever_downloaded(alpha, client_for, publish, store, data, name):
    address = store(alpha, data, name)
    publish(alpha, "page", "Papers", f"[paper]({address})")
    answer = client_for(alpha).get(address)
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.mimetype not in ("text/html", "image/svg+xml")


def test_the_name_offered_is_the_one_it_was_kept_under(alpha, client_for, publish, store):
    address = store(alpha, b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", "Protokoll Ä.pdf")
    publish(alpha, "page", "Papers", f"[paper](<{address}>)")
    lying = address.rsplit("/", 1)[0] + "/invoice.exe"
    disposition = client_for(alpha).get(lying).headers["Content-Disposition"]
    assert "invoice" not in disposition
    assert "Protokoll" in disposition


def test_a_damaged_file_is_refused_whole(app, alpha, client_for, publish, store):
    address = store(alpha, picture(), "plot.png")
    publish(alpha, "page", "Plots", f"![x]({address})")
    name = address.split("/")[2]
    with app.app_context():
        sealed = tenancy.placements.folder(alpha.id) / "files" / name[:2] / name
    sealed.write_bytes(sealed.read_bytes()[:-3])
    assert client_for(alpha).get(address).status_code == 503
    assert client_for(alpha).get("/plots").status_code == 200


def test_head_tells_the_size_alone(alpha, client_for, publish, store):
    address = store(alpha, picture(), "plot.png")
    publish(alpha, "page", "Plots", f"![x]({address})")
    answer = client_for(alpha).head(address)
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(picture()))


def test_an_unknown_file_is_not_found(alpha, signed_in, inside):
    with inside(alpha):
        assert db.session.scalar(select(Entry.id)) is not None
    for name in ("0" * 64, "..", "x"):
        assert signed_in(alpha).get(f"/files/{name}/x.png").status_code == 404
