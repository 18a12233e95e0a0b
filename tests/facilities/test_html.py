"""What may be shown of somebody's HTML, and what Markdown can say."""

from __future__ import annotations

import pytest

from app.facilities.html import clean, excerpt, plain_text, render_markdown, to_markdown


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "<a href='java\tscript:alert(1)'>x</a>",
        "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
        "<iframe src='//evil.example'></iframe>",
        "<svg><script>alert(1)</script></svg>",
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
        "<p style='position:fixed'>x</p>",
        "<form action='//evil.example'><input name=password></form>",
        "<base href='//evil.example'>",
        "<link rel=stylesheet href='//evil.example'>",
        "<meta http-equiv=refresh content='0;url=//evil.example'>",
        "<img src='https://evil.example/pixel.gif'>",
        "<img src='//evil.example/pixel.gif'>",
        "<img src='/\\evil.example/pixel.gif'>",
        "<img src='/\t/evil.example/pixel.gif'>",
        "<img src='/\n/evil.example/pixel.gif'>",
    ],
)
def test_nothing_that_runs_or_calls_elsewhere_survives(attack: str) -> None:
    shown = clean(f"<p>before</p>{attack}<p>after</p>").lower()
    for sign in ("script", "onerror", "iframe", "style=", "<form", "<input", "evil.example", "data:"):
        assert sign not in shown
    assert "before" in shown


def test_cleaning_twice_changes_nothing() -> None:
    once = clean(
        '<h2 id="top">A</h2><p class="alignleft x">b <a href="#top">c</a></p><img src="/files/a/b.png" alt="d">'
    )
    assert clean(once) == once


def test_an_id_cannot_take_the_place_of_one_of_the_sites_own() -> None:
    assert clean('<p id="main">x</p><a href="#main">y</a>') == '<p id="at-main">x</p><a href="#at-main">y</a>'


def test_only_known_classes_are_kept() -> None:
    assert clean('<p class="site-header text-center">x</p>') == '<p class="text-center">x</p>'


def test_html_in_markdown_is_shown_as_text() -> None:
    assert "<script" not in render_markdown("<script>alert(1)</script>")
    assert "&lt;b&gt;" in render_markdown("<b>x</b>")


def test_headings_begin_at_two() -> None:
    assert render_markdown("# A\n\n## B") == "<h2>A</h2>\n<h3>B</h3>\n"
    assert render_markdown("## A\n\n### B") == "<h2>A</h2>\n<h3>B</h3>\n"


def test_markdown_has_tables_footnotes_and_bare_links() -> None:
    shown = render_markdown("| a | b |\n|:-:|--:|\n| 1 | 2 |\n\nSee www.example.org[^1]\n\n[^1]: Note")
    assert '<th class="text-center">a</th>' in shown
    assert 'href="http://www.example.org"' in shown
    assert 'href="#at-fn1"' in shown
    assert 'id="at-fn1"' in shown


def test_bare_links_are_not_looked_for_beside_an_endless_word() -> None:
    assert "<a" in render_markdown("https://a.example/" + "x" * 1000)
    assert "<a" not in render_markdown("http://a.b" * 1000)


def test_a_remote_picture_in_markdown_becomes_a_link() -> None:
    shown = render_markdown("![A boat](https://example.org/boat.jpg)")
    assert shown == '<p><a href="https://example.org/boat.jpg">A boat</a></p>\n'
    assert "<img" in render_markdown("![A boat](/files/ab/boat.jpg)")


@pytest.mark.parametrize(
    "html",
    [
        "<p>Plain <strong>bold</strong> and <em>not </em>so<br>new line</p>",
        "<h2>A</h2><ul><li>one<ul><li>two</li></ul></li><li>three</li></ul><ol start='3'><li>x</li></ol>",
        "<p>1. not a list, # not a heading, a * b _ c [d](e) &lt;b&gt; &amp;amp;</p>",
        "<blockquote><p>a</p><p>b</p></blockquote><hr><pre><code class='language-python'>x = 1\n\n  y</code></pre>",
        "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>",
        "<p><a href='https://example.org/'>https://example.org/</a> and http://example.com bare</p>",
        "<p>Ελληνικά, עברית, 日本語</p>",
    ],
)
def test_what_markdown_can_say_comes_back_the_same(html: str) -> None:
    text = to_markdown(html)
    assert text is not None
    assert plain_text(render_markdown(text)) == plain_text(html)


@pytest.mark.parametrize(
    "html",
    [
        "<table><tbody><tr><td colspan='2'>x</td></tr></tbody></table>",
        "<dl><dt>a</dt><dd>b</dd></dl>",
        "<p class='text-center'>x</p>",
        "<p>H<sub>2</sub>O</p>",
        "<div class='gallery'><figure><img src='/files/a/b' alt='c'></figure></div>",
        "<figure class='embed'><a href='https://example.org/'>x</a></figure>",
        "<div>" * 500 + "x" + "</div>" * 500,
    ],
)
def test_what_markdown_cannot_say_is_not_said_in_markdown(html: str) -> None:
    assert to_markdown(html) is None


def test_text_alone_has_no_markup_and_parts_its_blocks() -> None:
    assert plain_text("<p>a</p><p>b &amp; c<br>d</p><script>x</script> 1 &lt; 2") == "a\nb & c\nd\n1 < 2"
    assert excerpt("<p>one two</p><p>three</p>", 2) == "one two…"
    assert excerpt("<p>one two</p>", 2) == "one two"


def test_very_deep_html_is_no_trouble() -> None:
    assert "x" in clean("<div>" * 20_000 + "x" + "</div>" * 20_000)
    assert plain_text("<b>" * 20_000 + "x") == "x"


@pytest.mark.parametrize(
    "text",
    [
        "[a]: http://example.org/" + "x" * 4900 + "\n\n" + "[a]" * 1650,
        "|a" * 100 + "|\n" + "|-" * 100 + "|\n" + "|\n" * 1000,
        "|a" * 2000 + "|\n" + "|-" * 2000 + "|\n" + "x\n" * 1000,
    ],
    ids=["one link many times", "rows that are filled up", "a row without end"],
)
def test_html_never_becomes_much_longer_than_its_text(text):
    assert len(render_markdown(text)) < 30 * len(text) + 20_000
