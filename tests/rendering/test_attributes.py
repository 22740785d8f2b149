"""Attributes say what is drawn, under the names that the readers give to videos and pictures."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import prepare
from affect.errors import DataError
from datamodules.affectnet import AffectNetDataModule
from datamodules.affwild2_joint import AffWild2JointDataModule
from datamodules.affwild2_mtl import MTLDataModule
from datamodules.base import FaceDataModule
from datamodules.lsd import LSDDataModule
from rendering import attributes, cache, video
from rendering.cache import describe
from rendering.cache import draw as draw_faces
from rendering.face import Light
from rendering.layouts import LAYOUTS, LayoutName

COLUMNS = ["skin_tone", "age", "glasses", "light"]
VIDEOS = {"seed": 3, "train_videos": 7, "val_videos": 6, "frames_per_video": 2}
FACES = {"seed": 3, "train_faces": 9, "val_faces": 8}


def read(path: Path) -> dict[str, dict[str, str]]:
    """Return what the file says, by the first column."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[1:] == COLUMNS
    return {next(iter(row.values())): row for row in rows}


@pytest.mark.parametrize(
    ("layout", "reader"),
    [("mtl", MTLDataModule), ("joint", AffWild2JointDataModule), ("affectnet", AffectNetDataModule),
     ("affectnet_release", AffectNetDataModule), ("lsd", LSDDataModule)],
)  # fmt: skip
def test_every_video_and_picture_of_a_list_has_its_line(
    layout: LayoutName, reader: type[FaceDataModule], tmp_path: Path
) -> None:
    videos = "train_videos" in LAYOUTS[layout].sizes
    root = draw_faces(tmp_path / layout, layout, workers=1, **(VIDEOS if videos else FACES))
    data = reader(root=str(root), image_size=112, batch_size=4, num_workers=0)  # type: ignore[call-arg]
    for split in ("train", "val"):
        frames = data.frames(split)
        said = read(root / ("attributes.csv" if videos else f"attributes-{split}.csv"))
        listed = set(frames.video if videos else frames.image)
        assert listed
        assert listed <= said.keys()
        assert videos or listed == said.keys()


def test_a_line_says_what_the_video_shows(rendered: Path) -> None:
    said = read(rendered / "attributes.csv")
    assert list(said) == [f"train-{number:04d}" for number in range(8)] + [f"validation-{n:04d}" for n in range(4)]
    for index in range(8):
        drawn = video.draw_video(3, video.TRAIN, index, 12)
        shown = attributes.attributes(drawn.person, drawn.moments[5].light)
        assert said[f"train-{index:04d}"] == {"video": f"train-{index:04d}", **shown}


def test_groups_follow_the_thresholds() -> None:
    person = replace(video.draw_person(0, video.TRAIN, 0), age=0.449, glasses=0.0)

    def of(strength: float, **changes: object) -> dict[str, str]:
        light = Light((0.0, 0.0, 1.0), (strength / 2,) * 3, (strength / 2,) * 3)
        return attributes.attributes(replace(person, **changes), light)  # type: ignore[arg-type]

    assert (of(1.0)["age"], of(1.0)["glasses"], of(1.0)["light"]) == ("young", "no", "normal")
    assert (of(0.84, age=0.45)["age"], of(0.84, glasses=0.7)["glasses"], of(0.84)["light"]) == ("old", "yes", "dim")
    assert of(1.06)["light"] == "bright"
    tones = [of(1.0, skin=np.array(skin))["skin_tone"] for skin in ([172, 196, 232], [92, 130, 178], [42, 60, 96])]
    assert tones == ["light", "medium", "dark"]


def test_the_angle_of_a_skin_is_that_of_its_definition() -> None:
    """Angle of (b*, L* - 50), CIELAB of sRGB (IEC 61966-2-1) with the white point D65."""
    for bgr in ([120.0, 150.0, 200.0], [42.0, 60.0, 96.0], [198.0, 216.0, 243.0]):
        b, g, r = ((c / 255 + 0.055) ** 2.4 / 1.055**2.4 if c > 10.3 else c / 255 / 12.92 for c in bgr)
        y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b
        z = (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883
        angle = np.degrees(np.arctan((116 * y ** (1 / 3) - 66) / (200 * (y ** (1 / 3) - z ** (1 / 3)))))
        person = replace(video.draw_person(0, video.TRAIN, 0), skin=np.array(bgr))
        assert attributes.skin_angle(person) == pytest.approx(angle, abs=0.5)


def test_each_group_is_common_enough_to_be_compared() -> None:
    """The 160 validation videos that are drawn by default; an audit needs ten of each group."""
    count = LAYOUTS["mtl"].sizes["val_videos"]
    seen = [(video.draw_person(0, video.VALIDATION, index), video.scene_light(0, video.VALIDATION, index))
            for index in range(count)]  # fmt: skip
    drawn = [attributes.attributes(*one) for one in seen]
    for column, groups in zip(COLUMNS, (3, 2, 2, 3), strict=True):
        support = Counter(one[column] for one in drawn)
        assert len(support) == groups
        assert min(support.values()) >= 20


def test_what_was_drawn_before_can_be_described(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "old"
    root.mkdir()
    (root / "rendering.json").write_bytes((rendered / "rendering.json").read_bytes())
    prepare.main(["attributes", str(root)])
    assert capsys.readouterr().out == f"{root / 'attributes.csv'}\n"
    assert (root / "attributes.csv").read_bytes() == (rendered / "attributes.csv").read_bytes()


@pytest.mark.parametrize(
    "change",
    [{"renderer_version": 0}, {"layout": "mlt"}, {"layout": ["mtl"]}, {"seed": 1.5}, {"seed": -1}, {"val_faces": 3},
     {"walls": 101}],
)  # fmt: skip
def test_other_folders_are_refused(change: dict[str, object], rendered: Path, tmp_path: Path) -> None:
    made = json.loads((rendered / "rendering.json").read_text())
    (tmp_path / "rendering.json").write_text(json.dumps({**made, **change}))
    with pytest.raises(
        DataError, match=r"no rendering\.json in it says that this version of the renderer has drawn it"
    ):
        describe(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rendering.json"]


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "7"])
def test_a_folder_without_a_manifest_is_refused(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "rendering.json").write_text(text)
    with pytest.raises(DataError, match="Give the folder of one data set"):
        describe(tmp_path)


def test_a_place_that_cannot_be_written_is_told(rendered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_attributes", full)
    with pytest.raises(ValueError, match="No space left on device; make room"):
        describe(rendered)
