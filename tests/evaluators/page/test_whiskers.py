"""Dots and whiskers: where they stand, and what is written beside them."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evaluators.intervals import Interval
from evaluators.page.whiskers import Whisker, ticks, whiskers

NONE = float("nan")


def drawn(markup: str) -> ET.Element:
    return ET.fromstring(re.sub(r"=(\w+)(?=[ >])", r'="\1"', markup))


def place(text: str | None) -> float:
    assert text is not None
    assert text.endswith("%")
    return float(text[:-1])


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_ticks_are_few_round_numbers_in_between(one: float, two: float) -> None:
    low, high = sorted((one, two))
    assume(high - low >= 0.01)
    found = [float(text) for text in ticks(low, high)]
    steps = np.diff(found)
    assert 2 <= len(found) <= 6
    assert low - 1e-9 <= found[0]
    assert found[-1] <= high + 1e-9
    np.testing.assert_allclose(steps, steps[0])
    mantissa = steps[0] / 10.0 ** np.floor(np.log10(steps[0]) + 1e-9)
    assert min(abs(mantissa - round_) for round_ in (1, 2, 5)) < 1e-6
    assert len(set(ticks(low, high))) == len(found)


def test_zero_has_no_sign() -> None:
    assert ticks(-0.11, 0.11) == ["-0.10", "-0.05", "0.00", "0.05", "0.10"]
    assert ticks(-0.4, 2.2) == ["0", "1", "2"]


def test_values_stand_where_the_axis_says() -> None:
    rows = [Whisker("<a>", "k=<1>", Interval(0.4, 0.2, 0.5), "0.4 & more", "reference"),
            Whisker("b", "", Interval(0.3, 0.25, 0.6), "0.3", "hollow"),
            Whisker("c", "", Interval(0.35, NONE, NONE), "0.35")]  # fmt: skip
    markup = whiskers("<of>", rows, 0.4)
    figure = drawn(markup)
    assert figure.findtext("h3") == "<of>"
    *lines, axis = figure.findall("svg")
    known = [(float(text.text or ""), place(text.get("x"))) for text in axis.iter("text")]
    slope, origin = np.polyfit(*zip(*known, strict=True), 1)
    for row, svg, text in zip(rows, lines, figure.findall("p"), strict=True):
        group = svg.find("g")
        assert group is not None
        assert group.get("class") == row.kind
        assert place(group.find("circle").get("cx")) == pytest.approx(slope * row.one.value + origin, abs=0.02)  # type: ignore[union-attr]
        whisker = group.find("line")
        assert (whisker is None) == np.isnan(row.one.low)
        if whisker is not None:
            ends = [place(whisker.get(end)) for end in ("x1", "x2")]
            assert ends == pytest.approx([slope * end + origin for end in row.one[1:]], abs=0.02)
            assert 0 < ends[0] < ends[1] < 100
        mark = next(line for line in svg.findall("line") if line.get("class") == "mark")
        assert place(mark.get("x1")) == pytest.approx(slope * 0.4 + origin, abs=0.02)
        assert [child.text for child in text] == [f"{row.name} " if row.more else row.name, row.text]
    assert "nan" not in markup
    assert "k=&lt;1&gt;" in markup


def test_equal_values_are_drawn_all_the_same() -> None:
    markup = whiskers("score", [Whisker("a", "", Interval(1.42, 1.42 - 1e-16, 1.42 + 1e-16), "1.42")], 1.42)
    assert {place(one) for one in re.findall(r'cx="([^"]*)"', markup)} == {50.0}
    assert whiskers("score", [], 0.0) == ""
