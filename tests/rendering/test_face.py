from __future__ import annotations

import cv2
import numpy as np
import pytest

from rendering import video
from rendering.face import Moment, draw_background, render
from rendering.sketch import Pose
from rendering.units import COLUMN, RENDERED_UNITS

# where FACS sees each unit: rows of the 112 x 112 crop, and the same at 64 x 64 after scaling
REGION = {
    1: (10, 44), 2: (10, 44), 4: (20, 52), 5: (33, 54), 6: (33, 74), 7: (33, 60), 9: (28, 88), 10: (52, 92),
    12: (50, 96), 14: (68, 94), 15: (68, 98), 20: (58, 96), 23: (66, 96), 24: (64, 112), 25: (66, 98), 26: (66, 112),
}  # fmt: skip


def person(index: int):
    return video.draw_person(0, video.TRAIN, index)


def picture(index: int, unit: int | None = None, level: float = 1.0, sides: tuple[int, ...] = (0, 1)) -> np.ndarray:
    units = np.zeros((2, len(RENDERED_UNITS)))
    if unit is not None:
        units[list(sides), COLUMN[unit]] = level
    return render(person(index), Moment(units=units), draw_background(np.random.default_rng(0))).astype(float)


@pytest.mark.parametrize("unit", RENDERED_UNITS)
def test_a_unit_changes_the_face_where_facs_sees_it(unit):
    top, bottom = REGION[unit]
    for index in range(6):
        change = np.abs(picture(index, unit) - picture(index)).mean(axis=2)
        inside = change[top:bottom].sum()
        assert inside > 0.9 * change.sum(), f"AU{unit} moves person {index} elsewhere"
        assert (change > 12).sum() >= 25, f"AU{unit} is hardly visible on person {index}"


@pytest.mark.parametrize("unit", RENDERED_UNITS)
def test_a_unit_is_still_visible_at_64_pixels(unit):
    small = [cv2.resize(p, (64, 64), interpolation=cv2.INTER_AREA) for p in (picture(1, unit), picture(1))]
    assert (np.abs(small[0] - small[1]).mean(axis=2) > 10).sum() >= 8


@pytest.mark.parametrize("unit", RENDERED_UNITS)
def test_more_intensity_changes_more(unit):
    rest = picture(2)
    changes = [np.abs(picture(2, unit, level) - rest).sum() for level in (0.3, 0.6, 1.0)]
    assert changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("unit", [1, 2, 4, 6, 7, 12, 14, 15])
def test_one_sided_action_stays_on_its_side(unit):
    change = np.abs(picture(3, unit, sides=(0,)) - picture(3)).sum(axis=2)
    assert change[:, :56].sum() > 2.5 * change[:, 56:].sum()


def test_turning_the_head_slides_features_over_the_outline():
    nose, ear = np.array([[0.0, 17.0, 30.0]]), np.array([[36.0, 5.0, 0.0]])
    ahead, turned = Pose(), Pose(yaw=0.3)
    assert (turned.project(nose) - ahead.project(nose))[0, 0] > 0.5
    assert (turned.project(ear) - ahead.project(ear))[0, 0] < -3.0


def test_roll_shift_and_scale_move_points_as_a_crop_does():
    point = np.array([[10.0, 16.0, 26.0]])
    assert (Pose(shift=(2.0, -3.0)).project(point) - Pose().project(point))[0] == pytest.approx([2.0, -3.0])
    far = Pose(scale=1.2).project(point) - Pose(scale=1.2).project(np.array([[0.0, 16.0, 26.0]]))
    near = Pose().project(point) - Pose().project(np.array([[0.0, 16.0, 26.0]]))
    assert far[0] == pytest.approx(1.2 * near[0])
    assert Pose(roll=0.1).project(point)[0, 1] > Pose().project(point)[0, 1]


def test_edges_are_anti_aliased():
    # a hair's breadth of shift must change pixels a little, not make them jump
    background = draw_background(np.random.default_rng(0))
    still = render(person(0), Moment(), background).astype(float)
    moved = render(person(0), Moment(pose=Pose(shift=(0.125, 0.0))), background).astype(float)
    change = np.abs(still - moved)
    assert change.max() > 2
    assert np.percentile(change, 99.5) < 40
