"""Looks change how people are drawn, and nothing of what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affect.files import OutputError
from rendering import video
from rendering.cache import rendered
from rendering.face import render
from rendering.look import Look

SIZES = {"train_videos": 4, "val_videos": 2, "frames_per_video": 3}


def pictures(look: Look) -> list[np.ndarray]:
    videos = [video.draw_video(0, video.TRAIN, index, 2, look) for index in range(12)]
    return [render(seen.person, seen.moments[0], seen.background) for seen in videos]


@pytest.mark.parametrize("way", Look._fields)
def test_each_way_changes_pictures_of_those_it_is_for_and_no_label(way: str) -> None:
    usual, all_of_them, half = (pictures(Look(**{way: share})) for share in (0, 100, 50))
    same = [np.array_equal(one, other) for one, other in zip(usual, all_of_them, strict=True)]
    assert not any(same)
    assert 0 < sum(np.array_equal(one, other) for one, other in zip(usual, half, strict=True)) < 12
    one, other = (video.draw_video(0, video.TRAIN, 3, 5, look) for look in (Look(), Look(**{way: 100})))
    assert np.array_equal(one.units, other.units)
    assert np.array_equal(one.expression, other.expression)
    assert one.moments[2].light == other.moments[2].light


def test_a_wall_is_plain() -> None:
    seen = video.draw_video(0, video.TRAIN, 3, 1, Look(walls=100))
    rough = np.abs(np.diff(seen.background.astype(float), axis=0)).max()
    assert rough <= 2


def test_labels_and_places_are_those_without_a_look(tmp_path: Path) -> None:
    plain = rendered(tmp_path, layout="mtl", workers=1, seed=0, **SIZES)
    looks = rendered(tmp_path, layout="mtl", workers=1, seed=0, **SIZES, walls=50, skin=100)
    assert plain != looks
    names = [sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg")) for root in (plain, looks)]
    assert names[0] == names[1]
    for file in ("training_set_annotations.txt", "validation_set_annotations.txt"):
        assert (plain / file).read_bytes() == (looks / file).read_bytes()


def test_more_than_all_and_other_layouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^render\.walls=101: .* at most 100$"):
        rendered(tmp_path, layout="mtl", workers=1, seed=0, **SIZES, walls=101)
    with pytest.raises(OutputError, match="so folds is wrong"):
        rendered(tmp_path, layout="faces", workers=1, seed=0, train_faces=2, val_faces=1, folds=10)
    assert not list(tmp_path.iterdir())
