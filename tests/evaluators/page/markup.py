"""What every page is checked for."""

from __future__ import annotations

import re
from html.parser import HTMLParser


def cards(page: str) -> list[str]:
    """The titles of the page's parts."""
    return re.findall(r"^<section id=\"[^\"]*\"><h2>(.*?)</h2>", page, re.MULTILINE)


class Elements(HTMLParser):
    """Elements with their attributes; checks that they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def asks_nobody(page: str, *files: str) -> list[tuple[str, dict[str, str | None]]]:
    """Check that a page asks nobody for anything, and that all of it is reached by keyboard; return its elements.

    Args:
        page: its text.
        files: that its links may lead to, beside its own parts.
    """
    elements = Elements(page).found
    for tag, attributes in elements:
        assert tag not in ("iframe", "object", "embed", "form", "base", "video", "audio", "source")
        for name in ("src", "href", "srcset", "action", "poster", "data", "ping", "background", "xlink:href"):
            place = attributes.get(name) or "data:"
            assert place.startswith(("data:", "#")) or (tag == "a" and place in files), (tag, attributes)
        if attributes.get("class") == "scroll" or tag == "canvas":
            assert attributes["tabindex"] == "0"
            assert attributes["aria-label"]
        assert tag != "img" or attributes["alt"]
        assert not any(name.startswith("on") for name in attributes)
    assert {place[1:] for tag, one in elements if tag == "a" and (place := one["href"] or "").startswith("#")} == {
        attributes["id"] for tag, attributes in elements if tag == "section"
    }
    bare = re.sub(r"base64,[^\"]*", "", page)
    assert not re.search(r"https?:|//\w+\.|@import|url\(|fetch\(|XMLHttp|WebSocket|EventSource|Beacon|import\(", bare)
    assert "innerHTML" not in bare
    return elements


def policy(elements: list[tuple[str, dict[str, str | None]]]) -> str:
    """What a page's browser may load."""
    return next(one["content"] or "" for _, one in elements if one.get("http-equiv") == "Content-Security-Policy")
