"""Small exports of WordPress, written by hand for tests."""

from __future__ import annotations

from html import escape

BASE = "https://club.example"
_SPACES = (
    'xmlns:excerpt="http://wordpress.org/export/{v}/excerpt/" xmlns:content="http://purl.org/rss/1.0/modules/content/" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:wp="http://wordpress.org/export/{v}/"'
)


def item(number: int, title: str = "", content: str = "", **fields: object) -> str:
    """Return one item; `fields` are those of the wp: namespace, `terms`, `meta`, `link`, `excerpt` and `comments`."""
    terms = "".join(
        f'<category domain="{taxonomy}" nicename="{slug}"><![CDATA[{name}]]></category>'
        for taxonomy, slug, name in fields.pop("terms", ())  # type: ignore[attr-defined]
    )
    meta = "".join(
        f"<wp:postmeta><wp:meta_key>{key}</wp:meta_key><wp:meta_value><![CDATA[{value}]]></wp:meta_value></wp:postmeta>"
        for key, value in dict(fields.pop("meta", {})).items()  # type: ignore[call-overload]
    )
    comments = "<wp:comment><wp:comment_id>1</wp:comment_id></wp:comment>" * int(str(fields.pop("comments", 0)))
    link = fields.pop("link", f"{BASE}/{fields.get('post_name', number)}/")
    said = {
        "post_id": number,
        "post_type": "post",
        "status": "publish",
        "post_date_gmt": "2020-01-02 03:04:05",
        "post_name": f"entry-{number}",
        **fields,
    }
    excerpt = said.pop("excerpt", "")
    inner = "".join(f"<wp:{name}>{escape(str(value))}</wp:{name}>" for name, value in said.items())
    return (
        f"<item><title>{escape(title)}</title><link>{link}</link><guid>{BASE}/?p={number}</guid>"
        f"<dc:creator>ann</dc:creator><content:encoded>{_cdata(content)}</content:encoded>"
        f"<excerpt:encoded>{_cdata(str(excerpt))}</excerpt:encoded>{inner}{terms}{meta}{comments}</item>\n"
    )


def export(*items: str, version: str = "1.2", channel: str = "") -> bytes:
    """Return a whole export."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0" {_SPACES.format(v=version)}><channel>'
        f"<title>The Club</title><link>{BASE}</link><wp:wxr_version>{version}</wp:wxr_version>"
        f"<wp:base_blog_url>{BASE}</wp:base_blog_url>"
        "<wp:author><wp:author_login>ann</wp:author_login>"
        f"<wp:author_display_name>Ann Oarsman</wp:author_display_name></wp:author>{channel}\n"
        f"{''.join(items)}</channel></rss>"
    ).encode()


def _cdata(text: str) -> str:
    return f"<![CDATA[{text.replace(']]>', ']]]]><![CDATA[>')}]]>" if text else ""
