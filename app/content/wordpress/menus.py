"""The menus of an export, made into the one menu that a site has here.

The menu that leads to most of the site's own pages becomes its menu; the others follow it, each under a line
with its name. A menu here has two levels, so deeper lines come under their first one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from app.content.menu import is_safe
from app.content.wordpress.links import Links
from app.content.wordpress.plan import Plan, PlannedLine
from app.content.wordpress.report import Findings

_MAIN = re.compile(r"\b(main|primary|header|top)\b", re.I)


@dataclass(frozen=True, slots=True)
class Line:
    """A line to write. `above` and `entry` are origins, `topic` is a slug; one that leads nowhere is a heading."""

    origin: str
    label: str
    above: str = ""
    entry: str = ""
    topic: str = ""
    url: str = ""


class Menus:
    """The lines of the site's menu, in order."""

    def __init__(self, plan: Plan, links: Links, findings: Findings) -> None:
        self._plan, self._links, self._findings = plan, links, findings

    def lines(self) -> Iterator[Line]:
        """Yield the lines of all menus, each after the one it stands under."""
        menus = self._plan.menus
        if not menus:
            return
        main = max(menus, key=self._rank)
        if len(menus) > 1:
            others = ", ".join(f"“{self._plan.menu_names[slug]}”" for slug in menus if slug != main)
            why = f"it is the site's menu; {others} stand in it under their names"
            self._findings.change("menu", self._plan.menu_names[main], why)
        yield from self._menu(main, "")
        for slug, lines in menus.items():
            if slug != main:
                name = self._plan.menu_names[slug]
                group = f"{lines[0].origin.rpartition('#')[0]}#menu-{slug}"
                yield Line(group, name)
                yield from self._menu(slug, group)

    def _rank(self, slug: str) -> tuple[bool, int, int, int]:
        lines = self._plan.menus[slug]
        named = bool(_MAIN.search(f"{slug.replace('-', ' ')} {self._plan.menu_names[slug]}"))
        own = sum(line.kind in ("post_type", "taxonomy") for line in lines)
        at_top = sum(not line.parent for line in lines)
        return named, own, -at_top, len(lines)

    def _menu(self, slug: str, group: str) -> Iterator[Line]:
        by_id = {line.wp_id: line for line in self._plan.menus[slug]}
        under: dict[int, list[PlannedLine]] = {}
        for line in sorted(by_id.values(), key=lambda line: (line.position, line.wp_id)):
            under.setdefault(line.parent if line.parent in by_id else 0, []).append(line)
        deepest = 0
        waiting = [(line, group, 0) for line in reversed(under.pop(0, []))]
        while waiting:
            line, above, depth = waiting.pop()
            deepest = max(deepest, depth)
            yield self._line(line, above)
            self._findings.came["menu entries"] += 1
            below = above or line.origin
            waiting.extend((next_line, below, depth + 1) for next_line in reversed(under.pop(line.wp_id, [])))
        for lines in under.values():
            self._findings.leave("menu entry", lines[0].label, "it stands under itself", len(lines))
        if deepest > (0 if group else 1):
            why = f"it had {deepest + 1} levels; a menu here has two, so its deeper lines moved up"
            self._findings.change("menu", self._plan.menu_names[slug], why)

    def _line(self, line: PlannedLine, above: str) -> Line:
        if line.kind == "post_type" and line.object_id in self._plan.entries:
            entry = self._plan.entries[line.object_id]
            return Line(line.origin, line.label or entry.title, above, entry=entry.origin)
        if line.kind == "taxonomy":
            return self._topic_line(line, above)
        url = self._links.target(line.url, None) if line.url not in ("", "#") else ""
        label = line.label or line.url or "…"
        if not url or not is_safe(url):
            why = "it led nowhere" if line.url in ("", "#") else f"it led to {line.url[:120]}, which is not here"
            self._findings.change("menu entry", label, f"{why}; it is a heading, shown when lines stand under it")
            url = ""
        return Line(line.origin, label, above, url=url)

    def _topic_line(self, line: PlannedLine, above: str) -> Line:
        term = self._plan.channel.terms.get(line.object_id)
        topic = self._plan.topic(term.taxonomy, term.slug) if term else None
        label = line.label or (topic.name if topic else term.name if term else line.object)
        if topic is None or not topic.shown:
            why = "visitors find no posts on its topic; it is a heading, shown when lines stand under it"
            self._findings.change("menu entry", label, why)
            return Line(line.origin, label, above)
        return Line(line.origin, label, above, topic=topic.slug)
