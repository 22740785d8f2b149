"""Faults that are planted in drawn faces are found, each with its place, all in one run; clean data has none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from prepare import main
from rendering.cache import draw
from rendering.layouts import LayoutName
from tests.datamodules.conftest import truncate

REAL = Path(__file__).resolve().parents[3] / "../shared/real_faces_small"
TRAIN, VAL, CROPS = "training_set_annotations.txt", "validation_set_annotations.txt", "cropped_aligned"

SIZES: dict[LayoutName, dict[str, int]] = {
    "mtl": {"train_videos": 6, "val_videos": 3, "frames_per_video": 8},
    "uni": {"train_videos": 3, "val_videos": 2, "frames_per_video": 8},
    "joint": {"train_videos": 5, "val_videos": 2, "frames_per_video": 5},
    "affectnet": {"train_faces": 16, "val_faces": 8},
    "affectnet_release": {"train_faces": 12, "val_faces": 6},
    "lsd": {"train_faces": 12, "val_faces": 6},
    "faces": {"train_faces": 12, "val_faces": 6},
}


def examined(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON of a run."""
    file, code = folder / "found.json", 0
    try:
        main(["doctor", f"json={file}", f"paths.cache_dir={folder}/cache", *arguments])
    except SystemExit as stopped:
        code = int(str(stopped.code))
    return code, json.loads(file.read_text())


def faults(found: dict[str, Any]) -> list[str]:
    """Each finding that changes a score as kind, file and line."""
    return [placed(one) for one in found["findings"] if one["fault"]]


def remarks(found: dict[str, Any]) -> list[str]:
    return [placed(one) for one in found["findings"] if not one["fault"]]


def placed(one: dict[str, Any]) -> str:
    line = "" if one["line"] is None else f":{one['line']}"
    return f"{'' if one['fault'] else 'remark '}{one['kind']} {Path(one['file'] or '-').name}{line}"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Callable[[LayoutName], Path]:
    """Draws each layout once."""
    folder = tmp_path_factory.mktemp("drawn")
    return lambda layout: draw(folder / layout, layout, seed=3, workers=1, **SIZES[layout])


class Lists:
    """The two label files of a root, whose lines are changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines = {name: (root / name).read_text().splitlines() for name in (TRAIN, VAL)}

    def rows(self, video: str, name: str = TRAIN) -> list[int]:
        """Lines of a video, from 1, the header being the first."""
        return [at for at, line in enumerate(self.lines[name], 1) if line.startswith(f"{video}/")]

    def change(self, line: int, change: Callable[[list[str]], list[str]], name: str = TRAIN) -> None:
        self.lines[name][line - 1] = ",".join(change(self.lines[name][line - 1].split(",")))

    def crop(self, line: int, name: str = TRAIN) -> Path:
        return self.root / CROPS / self.lines[name][line - 1].partition(",")[0]

    def write(self) -> None:
        for name, lines in self.lines.items():
            (self.root / name).write_text("\n".join(lines) + "\n")


def field(number: int, value: str) -> Callable[[list[str]], list[str]]:
    return lambda fields: [*fields[:number], value, *fields[number + 1 :]]


def in_the_lists(lists: Lists) -> set[str]:
    """Plant faults of lists; the places at which they are to be found."""
    first, second, third, _, _, sixth = (lists.rows(f"train-{number:04d}") for number in range(6))
    lists.change(first[0], lambda fields: fields[:-1])  # 1: a field too few
    lists.change(first[1], field(1, "1.5"))  # 2: a valence that is none
    lists.change(first[2], field(3, "8"))  # 3: an expression that is none
    lists.change(first[3], field(0, "train-0000/x.jpg"))  # 4: no frame
    lists.change(first[4], field(0, "../train-0000/00001.jpg"))  # 5: a name that leads elsewhere
    lists.change(first[5], field(5, "\x07"))  # 6: a character that cannot be seen
    last = len(lists.lines[TRAIN])
    again, other = lists.lines[TRAIN][second[0] - 1], lists.lines[TRAIN][second[1] - 1].split(",")
    lists.lines[TRAIN] += [again]  # 7: a row twice, a remark
    contrary = ["1" if unit == "0" else "0" for unit in other[4:]]
    lists.lines[TRAIN] += [",".join([other[0], "-5", "-5", "-1", *contrary])]  # 8: and with other labels
    shutil.rmtree(lists.crop(sixth[0]).parent)  # 9: a video without crops
    lists.crop(third[0]).unlink()  # 10: a hole, a remark
    shutil.copy(lists.crop(third[1]), lists.root / CROPS / "train-0002" / "99999.jpg")  # 11: in no list, a remark
    at_end = len(lists.lines[VAL])
    shutil.copytree(lists.root / CROPS / "train-0004", lists.root / CROPS / "train-0003_left")
    labels = lists.lines[VAL][1].partition(",")[2]
    shared = [lists.lines[TRAIN][lists.rows("train-0004")[0] - 1].partition(",")[0], "train-0003_left/00001.jpg"]
    lists.lines[VAL] += [
        f"{image},{labels}" for image in shared
    ]  # 12: a video, 13: another person of one, in both splits
    for line in range(2, len(lists.lines[VAL]) + 1):  # 14: a column of one value
        lists.change(line, field(1, "0.5"), VAL)
        lists.change(line, field(2, "0.25") if line % 2 else field(2, "0"), VAL)
    return {
        *(f"row {TRAIN}:{line}" for line in first[:6]),
        *(f"remark twice {TRAIN}:{last + 1}", f"contradiction {TRAIN}:{last + 2}"),
        *(f"no crop {TRAIN}:{sixth[0]}", f"remark no crop {TRAIN}:{third[0]}", "remark not listed train-0002"),
        *(f"shared {VAL}:{at_end + 1}", f"shared {VAL}:{at_end + 2}", f"one class {VAL}"),
    }


def in_the_pictures(lists: Lists) -> set[str]:
    """Plant faults of pictures, in videos of validation, which no fault of the lists concerns."""
    here, still = (lists.rows(f"validation-{number:04d}", VAL) for number in range(2))
    files = [lists.crop(line, VAL) for line in here]
    truncate(files[0])  # 15
    files[1].write_bytes(b"no picture")  # 16
    cv2.imwrite(str(files[2]), cv2.resize(cv2.imread(str(files[2])), (96, 112)))  # 17: an odd size, a remark
    cv2.imwrite(str(files[3]), np.zeros((112, 112, 3), np.uint8))  # 18: black
    original = lists.crop(lists.rows("train-0001")[2])
    copied = near_copy(cv2.imread(str(original)), np.random.default_rng(0))
    cv2.imwrite(str(files[4]), copied)  # 19: a near copy of another split
    of_still = [lists.crop(line, VAL) for line in still]
    for file in of_still[1:]:
        shutil.copy(of_still[0], file)  # 20: a video that stands still
    return {
        f"unreadable {files[0].name}", f"unreadable {files[1].name}", f"remark size {files[2].name}",
        f"constant {files[3].name}", f"copy {files[4].name}", "constant validation-0001",
    }  # fmt: skip


def near_copy(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The picture moved by up to 2 px, brighter or darker, and compressed."""
    right, down = random.integers(-2, 3, size=2)
    height, width = picture.shape[:2]
    moved = cv2.warpAffine(
        picture, np.float32([[1, 0, right], [0, 1, down]]), (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    lit = np.clip(moved * random.uniform(0.8, 1.2) + random.uniform(-20, 20), 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", lit, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)


def test_twenty_planted_faults_are_found_at_once_and_nothing_else_is(drawn, tmp_path: Path, capsys) -> None:
    root = tmp_path / "planted"
    shutil.copytree(drawn("mtl"), root)
    _, clean = examined(tmp_path, "data=affwild2_mtl", f"data.root={root}", "pictures=true")
    assert faults(clean) == []
    lists = Lists(root)
    planted = in_the_pictures(lists) | in_the_lists(lists)
    lists.write()
    capsys.readouterr()
    code, found = examined(tmp_path, "data=affwild2_mtl", f"data.root={root}", "pictures=true")
    assert len(planted) == 20
    assert code == 1
    assert planted <= {*faults(found), *remarks(found)}
    assert {*faults(found)} == {one for one in planted if not one.startswith("remark")}  # no alarm beside them
    assert len(faults(found)) == 16
    told = capsys.readouterr().out
    assert f"{root / TRAIN}:2: 15 fields where 16 " in told
    assert "16 faults that would change a score" in told


@pytest.mark.parametrize(
    ("layout", "arguments"),
    [
        ("mtl", ["data=affwild2_mtl"]),
        ("mtl", ["data=affwild2_expression"]),
        ("uni", ["data=affwild2_uni", "data.task=va"]),
        ("joint", ["data=affwild2_joint"]),
        ("affectnet", ["data=affectnet"]),
        ("affectnet_release", ["data=affectnet", "data.valence_arousal=true"]),
        ("lsd", ["data=lsd"]),
        ("faces", ["data=faces"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value,
)
def test_no_alarm_on_what_is_drawn(drawn, tmp_path: Path, layout: LayoutName, arguments: list[str]) -> None:
    code, found = examined(tmp_path, *arguments, f"data.root={drawn(layout)}", "pictures=true")
    assert (code, faults(found)) == (0, [])


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/real_faces_small")
def test_no_alarm_on_photographs(tmp_path: Path) -> None:
    code, found = examined(tmp_path, "data=affwild2_mtl", f"data.root={REAL}", "pictures=true")
    assert (code, found["findings"]) == (0, [])
    assert found["counts"]["train"]["rows"] == 1502
    assert [found["counts"]["val"][name] for name in ("neutral", "disgust", "other")] == [86, 18, 18]


def test_of_label_files_every_fault_is_found(drawn, tmp_path: Path) -> None:
    root = tmp_path / "uni"
    shutil.copytree(drawn("uni"), root)
    folder = root / "EXPR_Classification_Challenge" / "Train_Set"
    one, two, three, *_ = sorted(folder.iterdir())
    rows = one.read_text().splitlines()
    rows[2], rows[4] = "9", "1,2"
    one.write_text("\n".join(rows) + "\n")
    two.write_text("valence,arousal\n0,0\n")
    three.write_text(three.read_text() + "x\n")
    added = len(three.read_text().splitlines())
    shutil.copy(three, root / "EXPR_Classification_Challenge" / "Validation_Set" / three.name)
    code, found = examined(tmp_path, "data=affwild2_uni", "data.task=expr", f"data.root={root}")
    assert code == 1
    assert sorted(faults(found)) == sorted([
        f"row {one.name}:3", f"row {one.name}:5", f"file {two.name}:1",
        f"row {three.name}:{added}", f"row {three.name}:{added}", f"shared {three.name}",
    ])  # fmt: skip


def test_of_annotations_and_class_folders_every_fault_is_found(drawn, tmp_path: Path) -> None:
    release, lsd = tmp_path / "release", tmp_path / "lsd"
    shutil.copytree(drawn("affectnet_release"), release)
    annotations = release / "train_set" / "annotations"
    first, second, third = sorted(annotations.glob("*_exp.npy"))[:3]
    first.write_bytes(b"x")
    np.save(second, np.array(12))
    third.unlink()
    code, found = examined(tmp_path, "data=affectnet", f"data.root={release}")
    told = [one["what"] for one in found["findings"]]
    assert code == 1
    assert any(str(first) in one for one in told)
    assert any(f"{second} holds 12" in one for one in told)
    assert any("lack theirs" in one for one in told)
    shutil.copytree(drawn("lsd"), lsd)
    split = lsd / "validation_set_real_images"
    (split / "CALM").mkdir()
    shutil.rmtree(split / "FEAR")
    code, found = examined(tmp_path, "data=lsd", f"data.root={lsd}")
    told = [one["what"] for one in found["findings"] if one["fault"]]
    assert code == 1
    assert len(told) == 2
    assert "CALM is none of the six classes" in told[0]
    assert "no class folder FEAR" in told[1]
