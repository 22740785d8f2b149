"""Frame numbers from times."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos.numbering import frame_numbers


@given(
    rate=st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60), Fraction(15, 2)]),
    shown=st.lists(st.sampled_from([True, True, True, True, False]), min_size=1, max_size=300),
    ticks=st.sampled_from([1000, 15360, 90000]),
)
def test_a_lost_picture_leaves_a_hole(rate: Fraction, shown: list[bool], ticks: int) -> None:
    numbers = [1, 2, 3, 4, 5, 6, 7, *(number for number, there in enumerate(shown, 8) if there)]
    times = [round((number - 1) / rate * ticks) / ticks for number in numbers]
    found = frame_numbers(times)
    assert found is not None
    assert found.tolist() == numbers


def test_pictures_lost_at_the_beginning_count() -> None:
    for times, numbers in (
        ([0.12, 0.16, 0.2, 0.24], [4, 5, 6, 7]),
        ([-0.01, 0.03, 0.07], [1, 2, 3]),
        ([7.0], [1]),
        ([None], [1]),
    ):
        found = frame_numbers(times)
        assert found is not None
        assert found.tolist() == numbers


@pytest.mark.parametrize(
    "times",
    [
        [0.0, 0.04, None, 0.12],
        [0.0, 0.04, 0.04, 0.08],
        [0.0, 0.04, 0.08, 0.03],
        [0.0, 0.04, 0.08, 0.14, 0.18, 0.22],  # a gap of one period and a half
        [*np.cumsum([0.03, 0.05, 0.04, 0.06, 0.03, 0.1, 0.04])],
        [0.0, 0.04, 0.08, 1e9],
        [0.2, 0.24, 0.28],
        [],
    ],
)
def test_other_pictures_can_only_be_counted(times: list[float | None]) -> None:
    assert frame_numbers(times) is None
