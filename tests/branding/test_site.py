"""How a site presents itself: each organisation in its own colours, kept by browsers until they change."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from app.branding import PRESETS, Site, current_site, prepared
from app.branding.logo import initials
from app.facilities import storage
from app.tenancy import db, tenant_context
from app.tenancy.errors import NoTenant, Refused


@pytest.fixture
def site_of(app):
    """Change a tenant's site in a transaction, and return its look afterwards."""

    def change(tenant, act=lambda site: None):
        with app.app_context(), tenant_context(tenant):
            act(Site.mine())
            db.session.commit()
            return current_site()

    return change


def test_each_organisation_has_its_own_colours(alpha, beta, site_of, client_for):
    one = site_of(alpha, lambda site: site.recolour(*PRESETS["brick"][1:]))
    other = site_of(beta, lambda site: site.recolour(*PRESETS["harbour"][1:]))
    assert one.theme_url != other.theme_url
    assert PRESETS["brick"].brand in client_for(alpha).get(one.theme_url).text
    assert PRESETS["harbour"].brand in client_for(beta).get(other.theme_url).text
    assert PRESETS["brick"].brand not in client_for(beta).get(one.theme_url).text


def test_colours_are_kept_for_good_under_their_own_address_alone(alpha, site_of, client_for):
    before = site_of(alpha)
    after = site_of(alpha, lambda site: site.recolour("#123456", "#654321"))
    client = client_for(alpha)
    assert "immutable" in client.get(after.theme_url).headers["Cache-Control"]
    assert client.get(before.theme_url).headers["Cache-Control"] == "no-store"
    assert client.get(before.theme_url).text == client.get(after.theme_url).text


def test_a_page_names_the_colours_and_the_logo_of_its_site(alpha, site_of, client_for):
    look = site_of(alpha, lambda site: site.recolour("#123456", "#654321"))
    page = client_for(alpha).get("/sign-in").text
    assert look.theme_url in page
    assert look.logo_url in page


@pytest.mark.parametrize(("scheme", "said"), [("auto", "light dark"), ("light", "light"), ("dark", "dark")])
def test_a_site_is_light_or_dark_as_its_owner_says(alpha, site_of, client_for, scheme, said):
    look = site_of(alpha, lambda site: site.recolour("#123456", "#654321", scheme))
    assert f"color-scheme:{said};" in client_for(alpha).get(look.theme_url).text


def test_a_colour_that_is_none_changes_nothing(alpha, site_of):
    before = site_of(alpha)
    with pytest.raises(Refused):
        site_of(alpha, lambda site: site.recolour("#12345", "#654321"))
    assert site_of(alpha) == before


@pytest.mark.parametrize("name", ["", "   ", "x" * 81])
def test_a_name_that_no_page_can_show_is_refused(alpha, site_of, name):
    with pytest.raises(Refused):
        site_of(alpha, lambda site: site.rename(name))


def test_without_a_logo_a_monogram_is_drawn_from_the_name(alpha, site_of, client_for):
    look = site_of(alpha, lambda site: site.rename("The <script> & Sons of 東京"))
    answer = client_for(alpha).get(look.logo_url)
    assert answer.mimetype == "image/svg+xml"
    assert ">SS</text>" in answer.text
    assert "<script" not in answer.text


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("Riverside Rowing Club", "RR"),
        ("The Oak Street Food Bank", "OS"),
        ("Club", "C"),
        ("the", "T"),
        ("<&>", "·"),
        ("‘Hope’ & Glory", "HG"),
        ("東京 漕艇", "東漕"),
        ("42nd Scouts", "4S"),
    ],
)
def test_a_monogram_has_the_initials_that_people_would_say(name, letters):
    assert initials(name) == letters


def test_a_logo_is_served_as_a_small_png_whatever_was_sent(alpha, beta, site_of, client_for):
    sent = io.BytesIO()
    Image.new("RGB", (1600, 800), "#336699").save(sent, "JPEG", comment=b"made at home")
    sent.seek(0)
    made = prepared(sent)
    look = site_of(alpha, lambda site: site.set_logo(storage.put(made)))
    answer = client_for(alpha).get(look.logo_url)
    assert answer.mimetype == "image/png"
    assert b"made at home" not in answer.data
    assert Image.open(io.BytesIO(answer.data)).size == (512, 256)
    assert client_for(beta).get(look.logo_url).mimetype == "image/svg+xml"


def test_the_monogram_comes_back_when_the_logo_is_taken_away(alpha, site_of):
    sent = io.BytesIO()
    Image.new("RGB", (8, 8)).save(sent, "PNG")
    made = prepared(io.BytesIO(sent.getvalue()))
    assert not site_of(alpha, lambda site: site.set_logo(storage.put(made))).logo_url.endswith(".svg")
    assert site_of(alpha, lambda site: site.set_logo(None)).logo_url.endswith(".svg")


def bitmap() -> bytes:
    """Return a picture of a kind that is not taken."""
    written = io.BytesIO()
    Image.new("RGB", (8, 8)).save(written, "BMP")
    return written.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
        b"\x89PNG\r\n\x1a\n cut",
        b"x" * ((5 << 20) + 1),
        bitmap(),
    ],
    ids=["nothing", "svg", "cut short", "too much", "bitmap"],
)
def test_what_is_no_picture_does_not_become_a_logo(data):
    with pytest.raises(Refused):
        prepared(io.BytesIO(data))


def test_the_language_says_which_way_a_page_runs(alpha, site_of):
    assert site_of(alpha, lambda site: site.speak("ar-EG", "Africa/Cairo")).direction == "rtl"
    assert site_of(alpha, lambda site: site.speak("de", "Europe/Berlin")).direction == "ltr"


def test_no_look_without_a_tenant(app):
    with app.app_context(), pytest.raises(NoTenant):
        current_site()


def test_the_console_wears_no_organisations_colours(platform):
    assert "/_theme/" not in platform.get("/sign-in").text
    assert platform.get("/_theme/x.css").status_code == 404
