"""Who the main person is, and where: made-up boxes, and the smoothing against a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videos.tracks import GAP, SIGMA, STILL, link, main_face, smooth, to_squares


def box(x: float, y: float, side: float, wide: float = 0.8) -> list[float]:
    """A box of height ``side`` around a centre."""
    return [x - wide * side / 2, y - side / 2, wide * side, side]


def frames(*faces: list[list[float]]) -> list[np.ndarray]:
    return [np.array(found, dtype=np.float64).reshape(-1, 4) for found in faces]


def test_squares_are_around_the_same_centres() -> None:
    squares = to_squares(np.array([[10.0, 20.0, 30.0, 50.0], [0.0, 0.0, 8.0, 4.0]]))
    assert squares.tolist() == [[25.0, 45.0, 50.0], [4.0, 2.0, 8.0]]
    assert to_squares(np.empty((0, 4))).shape == (0, 3)


def test_a_moving_face_is_followed_and_what_is_missing_stays_missing() -> None:
    seen = [[box(100 + 5 * t, 80, 60)] if t not in (4, 5) else [] for t in range(12)]
    squares = main_face(frames(*seen))
    assert np.flatnonzero(np.isnan(squares[:, 0])).tolist() == [4, 5]
    assert squares[11].tolist() == [155, 80, 60]


def test_a_second_face_never_takes_over_although_it_is_larger_for_a_while_or_is_seen_first() -> None:
    second = box(300, 90, 58)
    seen = [[second], [second, box(100, 80, 60)], *([[box(100, 80, 60)]] * 20), [second], [box(300, 90, 90)]]
    squares = main_face(frames(*seen))
    assert np.isnan(squares[[0, -2, -1]]).all()
    assert (squares[1:-2, 0] == 100).all()


def test_two_faces_side_by_side_keep_their_tracks_whatever_their_order() -> None:
    left, right = (lambda t: box(100 + 3 * t, 80, 60)), (lambda t: box(155 + 3 * t, 80, 60))
    tracks = link([to_squares(np.array([left(t), right(t)][:: 1 if t % 2 else -1])) for t in range(10)])
    assert sorted(track.squares[9][0] for track in tracks) == [127, 182]
    assert all(np.allclose(np.diff([square[0] for square in track.squares]), 3) for track in tracks)


@pytest.mark.parametrize(
    ("again", "taken"),
    [
        (box(140, 80, 60), True),  # near
        (box(165, 80, 60), False),  # more than a side away
        (box(100, 80, 140), False),  # more than twice as large
    ],
)
def test_after_a_long_hole_only_a_face_near_the_last_place_is_the_main_one(again: list[float], taken: bool) -> None:
    hole: list[list[list[float]]] = [[]] * (GAP + 5)
    squares = main_face(frames(*([[box(100, 80, 60)]] * 30), *hole, *([[again]] * 5)))
    assert np.isfinite(squares[-5:]).all() == taken
    assert np.isnan(squares[30:-5]).all()


def test_a_person_who_walks_on_between_holes_is_taken_up_piece_by_piece_in_both_directions() -> None:
    hole: list[list[list[float]]] = [[]] * (GAP + 1)
    places = [100, 150, 200, 250]
    pieces = [[[box(x, 80, 60)]] * (20 if x == 200 else 5) for x in places]
    seen = [found for piece in pieces for found in (*piece, *hole)]
    squares = main_face(frames(*seen))
    assert set(squares[~np.isnan(squares[:, 0]), 0]) == set(places)


def test_no_face_at_all() -> None:
    assert np.isnan(main_face(frames([], [], []))).all()
    assert main_face(frames([], [])).shape == (2, 3)
    assert main_face([]).shape == smooth(main_face([])).shape == (0, 3)


def smooth_slowly(squares: np.ndarray) -> np.ndarray:
    result = np.full_like(squares, np.nan)
    for t, (x, y, side) in enumerate(squares):
        parts = []
        for other in range(len(squares)):
            ox, oy, oside = squares[other]
            if abs(other - t) > 3 * SIGMA or math.isnan(x) or math.isnan(ox):
                continue
            if math.hypot(ox - x, oy - y) <= STILL * side and abs(math.log(oside / side)) <= STILL:
                parts.append((math.exp(-((other - t) ** 2) / (2 * SIGMA**2)), ox, oy, math.log(oside)))
        if parts:
            weight = sum(part[0] for part in parts)
            mean = [sum(part[0] * part[i] for part in parts) / weight for i in (1, 2, 3)]
            result[t] = [mean[0], mean[1], math.exp(mean[2])]
    return result


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.tuples(st.integers(-60, 60), st.integers(-60, 60), st.integers(70, 130)),
        ),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_smoothing_is_the_average_of_what_is_near(found: list[tuple[int, int, int] | None]) -> None:
    squares = np.array([(np.nan,) * 3 if square is None else square for square in found], dtype=np.float64)
    np.testing.assert_allclose(smooth(squares), smooth_slowly(squares), rtol=1e-9, atol=1e-9)


def test_smoothing_stills_a_trembling_box_and_leaves_a_jump_alone() -> None:
    rng = np.random.default_rng(0)
    squares = np.concatenate([np.tile([100.0, 80.0, 60.0], (40, 1)), np.tile([160.0, 80.0, 60.0], (40, 1))])
    smoothed = smooth(squares + rng.normal(0, 2, squares.shape))
    assert np.abs(np.diff(smoothed[:, :2], axis=0))[np.arange(79) != 39].mean() < 0.6  # of 2.3 before
    assert np.abs(smoothed[[39, 40], 0] - [100, 160]).max() < 3
