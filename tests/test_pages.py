from dataclasses import replace

from app.pages import STATIC, asset


def test_an_asset_carries_a_mark_of_its_content():
    address = asset("base.css")
    assert address.startswith("/static/base.css?v=")
    assert len(address.rsplit("=", 1)[1]) == 12
    assert (STATIC / "base.css").exists()


def test_static_files_are_served_on_both_sides(app, alpha, client_for, platform):
    for browser in (client_for(alpha), platform):
        answer = browser.get(asset("base.css"))
        assert answer.status_code == 200
        assert answer.mimetype == "text/css"
        answer.close()


def test_no_page_has_inline_script_or_style(alpha, client_for, platform, signed_in):
    pages = [client_for(alpha).get("/"), client_for(alpha).get("/sign-in"), platform.get("/sign-in")]
    pages += [signed_in(alpha).get(path) for path in ("/desk/", "/desk/content/", "/desk/settings/")]
    for page in pages:
        assert page.status_code == 200
        assert "<style" not in page.text
        assert " style=" not in page.text
        assert " onclick=" not in page.text
        assert "<script>" not in page.text


def test_no_page_names_another_origin_for_scripts_styles_or_pictures(alpha, client_for, signed_in):
    from lxml.html import fromstring

    for page in (client_for(alpha).get("/"), signed_in(alpha).get("/desk/")):
        for element in fromstring(page.text).xpath(
            "//script[@src]/@src | //link[@rel='stylesheet']/@href | //img/@src"
        ):
            assert element.startswith("/"), element


def test_who_comes_by_https_comes_back_by_it_on_every_host(app, alpha, client_for, platform):
    def told(browser, path):
        return browser.get(path).headers.get("Strict-Transport-Security")

    places = [
        (client_for(alpha), "/"),
        (client_for(alpha), "/api/v1/me"),
        (platform, "/sign-in"),
        (platform, "/nowhere"),
    ]
    assert {told(*place) for place in places} == {None}
    app.config["FREEHOLD"] = replace(app.config["FREEHOLD"], secure=True)
    assert {told(*place) for place in places} == {"max-age=31536000"}
    unknown = app.test_client().get("/", base_url="https://unknown.example")
    assert unknown.headers["Strict-Transport-Security"] == "max-age=31536000"
