"""The parts that pages are made of: cards, figures, tables, and the page around them.

A page is one file that asks nobody for anything: its policy lets no other script run than its own, and loads nothing.
It is light or dark as the reader's system is, and every part of it can be reached with the keyboard.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from evaluators.figures import BLUE, GREY, INK, ORANGE

_TEMPLATE: Final = Path(__file__).with_name("page.html")
_STEPS: Final = 254  # of a value in a page, which is a byte
_NONE: Final = 255

_ROLES: Final = {
    INK: ("ink", "#e3e8ee"),
    GREY: ("grey", "#46515d"),
    BLUE: ("blue", "#7fb2ee"),
    ORANGE: ("orange", "#f0a04b"),
}
"""Colours of the figures that are others on dark: what they are called there, and what they become."""


class Link(NamedTuple):
    """Text that leads to a file.

    Attributes:
        text: what is read.
        file: a path from the folder that the page is in; None: there is no such file, and the text stays text.
    """

    text: str
    file: str | None

    def __str__(self) -> str:
        text = escape(self.text)
        return text if self.file is None else f'<a href="{escape(quote(self.file))}">{text}</a>'


Cell: TypeAlias = str | Sequence[Link]
"""What stands in a table: text, or links side by side."""


def page(title: str, parts: Iterable[str], *, above: str = "", script: str = "", data: Any = None) -> str:
    """Return a page.

    Args:
        title: of the page.
        parts: cards, in their order; empty ones are left out. A page has links to them at its top.
        above: markup between the title and these links.
        script: what the page may run.
        data: what the script reads from the element ``data``, as JSON.
    """
    cards = [part for part in parts if part]
    links = [
        f'<a href="#{name}">{text}</a>'
        for name, text in re.findall(r'^<section id="([^"]*)"><h2>(.*?)</h2>', "\n".join(cards), re.MULTILINE)
    ]
    held = f'<script type="application/json" id="data">{as_json(data)}</script>\n' if script else ""
    return filled(
        _TEMPLATE,
        title=escape(title),
        above=above,
        links="\n".join(links),
        cards="\n".join(cards),
        policy=f"script-src '{script_hash(script)}'" if script else "script-src 'none'",
        script=f"{held}<script>{script}</script>" if script else "",
    )


def filled(template: Path, **parts: str) -> str:
    """Return a template with its ``{{names}}`` replaced; what replaces them is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template.read_text(encoding="utf-8"))


def script_hash(script: str) -> str:
    """Return what a page's policy calls the one script that may run, whatever a name in the page holds."""
    return f"sha256-{as_base64(hashlib.sha256(script.encode()).digest())}"


def card(title: str, content: str) -> str:
    """Return a part of a page with a title; nothing without content."""
    name = re.sub(r"\W+", "-", title.lower()).strip("-")
    return f'<section id="{name}"><h2>{escape(title)}</h2>\n{content}\n</section>' if content else ""


def fact_line(parts: Iterable[str]) -> str:
    """Return a line of what is known of a page's subject, for its top; nothing without any."""
    line = " · ".join(parts)
    return f"<p class=facts>{escape(line)}</p>" if line else ""


def note(text: str) -> str:
    """Return a paragraph that explains what stands beside it."""
    return f"<p class=note>{escape(text)}</p>"


def figure(title: str, panels: Sequence[str], below: str = "") -> str:
    """Return a card of SVGs, side by side as far as there is room.

    Each is an image of its own: ids of several SVGs cannot clash, and none can run a script.

    Args:
        title: of the card, and what a screen reader says of its images.
        panels: SVG texts; without any, there is no card.
        below: markup under them.
    """
    images = [
        f'<img alt="{escape(title)}" style="max-width:{_width(svg):g}pt" '
        f'src="{data_url(_on_any_ground(svg).encode(), "svg+xml")}">'
        for svg in panels
    ]
    least = 0.75 * max(map(_width, panels), default=0)  # text is legible down to this
    return card(
        title, f'<div class=panels style="--least:{least:.0f}pt">{"".join(images)}</div>{below}' if images else ""
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], name: str) -> str:
    """Return a table that scrolls by itself where it is wider than the page; the first cell of a row is its name.

    Args:
        head: titles of the columns.
        rows: of cells.
        name: of the table, for screen readers.
    """
    first = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    others = "\n".join(
        f'<tr><th scope="row">{_cell(cells[0])}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in cells[1:])}</tr>'
        for cells in rows
    )
    return scrolled(f"<table>\n<tr>{first}</tr>\n{others}\n</table>", name)


def _cell(cell: Cell) -> str:
    return escape(cell) if isinstance(cell, str) else ", ".join(map(str, cell))


def scrolled(content: str, name: str) -> str:
    """Return markup that scrolls sideways in its place; tab reaches it, and then the arrow keys move it."""
    return f'<div class=scroll tabindex=0 role=region aria-label="{escape(name)}">{content}</div>'


def data_url(content: bytes, kind: str) -> str:
    """Return an image as an address that holds it.

    Args:
        content: of its file.
        kind: ``png``, ``jpeg``, ``svg+xml``.
    """
    return f"data:image/{kind};base64,{as_base64(content)}"


def as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return values in [0, 1] as bytes from 0 to 254 that a script can read, NaN as 255."""
    made: NDArray[np.uint8] = np.round(np.clip(np.nan_to_num(values), 0, 1) * _STEPS).astype(np.uint8)
    made[np.isnan(values)] = _NONE
    return made


def as_base64(data: Any) -> str:
    """Return bytes, or the content of an array, as text."""
    return base64.b64encode(data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()).decode()


def as_json(data: Any) -> str:
    """Return JSON that can stand in a page: no text of it can end the element that it is in."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")


def _on_any_ground(svg: str) -> str:
    """Return an SVG that has no ground of its own, and other colours where the page is dark.

    What names a place elsewhere is left out: the document type and what matplotlib says of itself.
    """
    svg = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL).strip()
    for colour, (name, _) in _ROLES.items():
        svg = svg.replace(f": {colour}", f": var(--{name})")
    light = ";".join(f"--{name}:{colour}" for colour, (name, _) in _ROLES.items())
    dark = ";".join(f"--{name}:{colour}" for name, colour in _ROLES.values())
    style = f"<style>svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    return re.sub(
        r"(<svg\b[^>]*>)", lambda match: match[1] + style, svg.replace("fill: #ffffff", "fill: none"), count=1
    )


def _width(svg: str) -> float:
    """Return the width that an SVG was drawn with, in points, beyond which its text would be larger than the page's."""
    found = re.search(r'<svg\b[^>]*?\bwidth="([\d.]+)pt"', svg)
    return float(found[1]) if found else 450.0
