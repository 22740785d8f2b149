"""The messages that docs/errors.md explains are those of the code."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FOREIGN = ("operator torchvision::nms does not exist", "ModelCheckpoint(monitor=")
"""Beginnings of the messages of other packages."""


def quoted() -> list[str]:
    """The messages in the first column of its tables."""
    text = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `")]
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row)]


@cache
def told() -> tuple[tuple[str, ...], ...]:
    """The words of every text in the code, with an ellipsis for each value that is put into it."""
    files = [path for path in REPOSITORY.rglob("*.py") if not {"tests", ".venv"} & set(path.parts)]
    return tuple({words(text) for path in files for text in _texts(ast.parse(path.read_text(encoding="utf-8")))})


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W\d_]+|…", text))


def fixed(message: str) -> tuple[str, ...]:
    """The words of a message, with an ellipsis for examples: numbers, names in quotes, keys, paths."""
    return words(re.sub(r"'[^' ]*'|\S*[…\d/._=]\S*|\bN\b", "…", message))


def in_common(message: tuple[str, ...], text: tuple[str, ...]) -> int:
    """How many words a message has from a text, if it can be a part of it; either's ellipsis stands for any words."""

    @cache
    def rest(i: int, j: int) -> float:
        if i == len(message):
            return 0
        if j == len(text):
            return 0 if set(message[i:]) == {"…"} else -math.inf
        best = 1 + rest(i + 1, j + 1) if message[i] == text[j] != "…" else -math.inf
        if "…" in (message[i], text[j]):
            best = max(best, rest(i + 1, j), rest(i, j + 1))
        return best

    return int(max(0, *(rest(0, j) for j in range(len(text)))))


def is_told(message: tuple[str, ...]) -> bool:
    """Whether some text of the code gives at least half of the words of a message."""
    own = [word for word in message if word != "…"]
    likely = [text for text in told() if 2 * sum(word in text for word in own) >= len(own)]
    return any(2 * in_common(message, text) >= len(own) for text in likely)


def is_put_together(message: tuple[str, ...]) -> bool:
    """Whether a message is told, or its two halves are, in two texts."""
    cuts = range(3, len(message) - 2)
    return is_told(message) or any(is_told(message[:cut]) and is_told(message[cut:]) for cut in cuts)


def test_words_are_compared_and_values_are_not() -> None:
    assert fixed("…/video1.txt:7: 1 fields where 2 are 'x'") == ("…", "…", "fields", "where", "…", "are", "…")
    assert in_common(("no", "file", "of", "the", "train", "split"), words("there is no file of the … split: …")) == 5
    assert in_common(("no", "row", "of", "expression"), words("no row after the header")) == 0
    assert not is_put_together(("no", "row", "of", "expression"))


@pytest.mark.parametrize("message", [one for one in quoted() if not one.startswith(FOREIGN)])
def test_an_explained_message_is_in_the_code(message: str) -> None:
    whole = fixed(message)
    pieces = [tuple(piece.split()) for piece in " ".join(whole).split("…")]
    long = [piece for piece in pieces if len(piece) > 2]
    assert is_told(whole) or (long and all(map(is_put_together, long)))
