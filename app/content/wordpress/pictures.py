"""Pictures of an article: shown from our own files when they are here, else captioned placeholders."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from urllib.parse import quote, unquote

from bs4 import BeautifulSoup, Tag

from app.content.wordpress.urls import split

_ALIGN = ("alignleft", "alignright", "aligncenter", "alignwide", "alignfull")
_BLOCKS = frozenset(("p", "h1", "h2", "h3", "h4", "h5", "h6", "dt", "summary", "pre", "address"))
_HOLDERS = frozenset(("div", "li", "td", "th", "dd", "blockquote", "section", "article", "aside", "figure", "details"))
_SIZED = re.compile(r"-\d{1,5}x\d{1,5}(?=\.\w{2,5}$)|-scaled(?=\.\w{2,5}$)")
_FEW = re.compile(r"\d{1,2}", re.ASCII)
TINY = 32  # pixels; smaller pictures are part of the text


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the export knows it; `href` is where its bytes are here, "" when they are not."""

    url: str
    href: str = ""
    alt: str = ""
    caption: str = ""


Find = Callable[[str], Picture | None]


def place(soup: BeautifulSoup, find: Find) -> int:
    """Turn every picture of `soup` into a figure of ours; return how many became placeholders."""
    for gallery in soup.select(".wp-block-gallery, .gallery, .tiled-gallery, .blocks-gallery-grid"):
        _flatten_gallery(soup, gallery)
    missing = 0
    for image in soup.find_all("img"):
        url = _address(image)
        picture = find(url) or Picture(url)
        missing += not picture.href
        _place_one(soup, image, picture)
    return missing


def original(url: str) -> str:
    """Return the address of the whole picture that `url`, perhaps of a smaller size, shows; without scheme or query."""
    parts = split(url.strip())
    return f"{(parts.hostname or '').removeprefix('www.')}{_SIZED.sub('', unquote(parts.path))}"


def file_name(url: str) -> str:
    """Return the name of the file at `url`."""
    return unquote(split(url).path).rstrip("/").rpartition("/")[2] or "file"


def file_href(stored_name: str, name: str) -> str:
    """Return the address on the site of a stored file."""
    return f"/files/{stored_name}/{quote(name)}"


def figure(picture: Picture, caption: str = "", alt: str = "", align: str = "") -> str:
    """Return the figure of a picture; `caption` is HTML."""
    alt = alt or picture.alt
    if picture.href:
        shown = f'<img src="{escape(picture.href)}" alt="{escape(alt)}">'
        said = f"<figcaption>{caption}</figcaption>" if caption else ""
        return f"<figure{_class(align)}>{shown}{said}</figure>"
    host = f"<small>{escape(split(picture.url).hostname or '')}</small>"
    said = f"{caption} {host}".strip()
    name = escape(alt or file_name(picture.url))
    return f"<figure{_class('placeholder', align)}><p>{name}</p><figcaption>{said}</figcaption></figure>"


def _class(*words: str) -> str:
    said = " ".join(word for word in words if word)
    return f' class="{said}"' if said else ""


def _address(image: Tag) -> str:
    given = str(image.get("src") or "")
    late = image.get("data-src") or image.get("data-lazy-src") or image.get("data-orig-file")
    return str(late) if late and not given.startswith(("http", "/")) else given


def _flatten_gallery(soup: BeautifulSoup, gallery: Tag) -> None:
    """Make a gallery of any vintage a plain div of figures; a caption of the whole comes after it."""
    if gallery.decomposed or gallery.find_parent(class_="gallery-done"):
        return
    figures = [_outermost(image, gallery) for image in gallery.find_all("img")]
    whole = gallery.find(class_="blocks-gallery-caption") or (
        gallery.find("figcaption", recursive=False) if gallery.name == "figure" else None
    )
    align = next((word for word in _ALIGN if word in gallery.get_attribute_list("class")), "")
    made = soup.new_tag("div", attrs={"class": f"gallery gallery-done {align}".strip()})
    gallery.insert_before(made)
    for one in figures:
        made.append(one.extract())
    if isinstance(whole, Tag):
        whole.extract()
        whole.name, whole.attrs = "p", {"class": "text-center"}
        made.insert_after(whole)
    gallery.decompose()


def _outermost(image: Tag, gallery: Tag) -> Tag:
    """Return the figure (or item) that holds one picture of the gallery, with its caption."""
    holder = image
    for above in image.parents:
        if above is gallery or len(above.find_all("img")) > 1:
            break
        holder = above
    inner = holder.find("figure")
    if isinstance(inner, Tag):
        return inner
    if holder.name in ("li", "dl", "div"):
        holder.name = "figure"
    for caption in holder.find_all("dd"):
        caption.name = "figcaption"
    return holder


def _place_one(soup: BeautifulSoup, image: Tag, picture: Picture) -> None:
    if _is_tiny(image):
        image.replace_with(str(image.get("alt") or ""))
        return
    holder = image.find_parent("figure")
    if holder is not None and len(holder.find_all("img")) > 1:
        holder = None
    caption = _caption(holder)
    link = image.find_parent("a")
    if link is not None and (kept := _kept_link(link, picture)) and not caption:
        caption = f'<a href="{escape(kept)}">{escape(str(image.get("alt") or "") or picture.alt or kept)}</a>'
    made = figure(
        picture,
        caption or escape(picture.caption if holder is None else ""),
        str(image.get("alt") or ""),
        _align(image, holder),
    )
    parsed = BeautifulSoup(made, "html.parser").figure
    assert parsed is not None
    if holder is not None:
        _unlift(holder).replace_with(parsed)
    else:
        _lift(image, parsed)


def _is_tiny(image: Tag) -> bool:
    width = str(image.get("width") or "")
    return "wp-smiley" in image.get_attribute_list("class") or (
        _FEW.fullmatch(width) is not None and int(width) <= TINY
    )


def _caption(holder: Tag | None) -> str:
    found = holder.find("figcaption") if holder is not None else None
    return found.decode_contents().strip() if isinstance(found, Tag) else ""


def _kept_link(link: Tag, picture: Picture) -> str:
    """Return where a picture's link leads, unless that is the picture itself."""
    href = str(link.get("href") or "")
    return "" if original(href) == original(picture.url) or not href else href


def _align(image: Tag, holder: Tag | None) -> str:
    near = [image, *([holder] if holder is not None else [])]
    around = near[-1].parent
    if around is not None and (around.name in ("a", "p") or "wp-block-image" in around.get_attribute_list("class")):
        near.append(around)
    words = [str(word) for tag in near for word in tag.get_attribute_list("class")]
    return next((word for word in words if word in _ALIGN), "")


def _unlift(holder: Tag) -> Tag:
    """Return `holder`, or the wrapper around it that holds nothing else."""
    above = holder.parent
    if (
        above is not None
        and above.name in ("div", "p", "a")
        and above.get_text(strip=True) == holder.get_text(strip=True)
    ):
        classes = [str(word) for word in above.get_attribute_list("class")]
        if above.name != "div" or "wp-block-image" in classes or "wp-caption" in classes:
            return _unlift(above) if len(above.find_all("figure")) == 1 else holder
    return holder


def _lift(image: Tag, made: Tag) -> None:
    """Put the figure where one may stand: before the paragraph that the picture was in."""
    spot: Tag = image
    for above in list(image.parents):
        if above.name == "[document]" or above.name in _HOLDERS:
            break
        spot = above
        if above.name in _BLOCKS:
            break
    link = image.find_parent("a")
    if spot is image:
        image.replace_with(made)
        return
    spot.insert_before(made)
    image.extract()
    if link is not None and not link.get_text(strip=True):
        link.extract()
    if spot.parent is not None and not spot.get_text(strip=True) and not spot.find(("img", "br", "hr")):
        spot.decompose()
