"""The strict readers take what the official files hold, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from . import strict_binary, strict_lists, strict_settings
from .strict_text import RefusedError

HEADER = "image,valence,arousal,expression,aus"
ROW = "video1/00001.jpg,0.148,-0.5,3," + ",".join("010010000001")
UNITS = ",".join(f"AU{unit}" for unit in strict_lists.UNITS)
VA = ["valence,arousal", "0.148,0.352", "-5,-5", "-5.0,0.2"]
READ_VA = [[0.148, 0.352], [None, None], [None, None]]


def _file(folder: Path, *lines: str, end: str = "\n") -> Path:
    path = folder / "file.txt"
    path.write_bytes((end.join(lines) + end).encode())
    return path


def _va(path: Path) -> list[Any]:
    return strict_lists.labels(path, "va")


def test_a_row_of_the_multi_task_challenge(tmp_path: Path) -> None:
    values = [0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]
    expected = ["video1/00001.jpg", "video1", 1, 0.148, -0.5, 3, *values]
    assert strict_lists.mtl(_file(tmp_path, HEADER, ROW)) == [expected]
    named = [*HEADER.split(",")[:4], *(f"AU{unit}" for unit in strict_lists.UNITS)]
    assert strict_lists.mtl(_file(tmp_path, ",".join(named), ROW)) == [expected]
    backwards = ",".join(reversed(ROW.split(",")))
    assert strict_lists.mtl(_file(tmp_path, ",".join(reversed(named)), backwards)) == [expected]


def test_missing_values(tmp_path: Path) -> None:
    rows = strict_lists.mtl(_file(tmp_path, HEADER, "a/00008.jpg,-5.0,0.3,-1," + ",".join(["-1"] * 11 + ["1"])))
    assert rows[0][3:] == [None, None, -1, *[None] * 11, 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", ",\n"),
        lambda text: text + "\n \n\n",
        lambda text: text.rstrip("\n"),
    ],
)
def test_what_is_legal_in_every_list(tmp_path: Path, change: Callable[[str], str]) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(change("\n".join(VA) + "\n").encode())
    assert _va(path) == READ_VA


@pytest.mark.parametrize("value", ["0_4", "١", "1e400", "nan", "-6", "1.5", "", "0x1", "−0.5", "inf", "0,4", "1\0"])
def test_odd_numbers_are_refused(tmp_path: Path, value: str) -> None:
    for path in (_file(tmp_path, *VA[:2], f"0.1,{value}"), _file(tmp_path, "valence,arousal", f"{value},0.1", *VA[1:])):
        with pytest.raises(RefusedError):
            _va(path)


@pytest.mark.parametrize(
    "image", ["/abs/x/00001.jpg", "a/../../../x/00001.jpg", "../x.jpg", "a/1", "a//1.jpg", "x.jpg"]
)
def test_paths_are_refused(tmp_path: Path, image: str) -> None:
    with pytest.raises(RefusedError):
        strict_lists.mtl(_file(tmp_path, HEADER, ROW.replace("video1/00001.jpg", image)))
    with pytest.raises(RefusedError):
        strict_lists.mtl_list(_file(tmp_path, HEADER, image))
    with pytest.raises(RefusedError):
        strict_lists.test_list(_file(tmp_path, "image_location,valence,arousal", image + ","), "va")


def test_headers(tmp_path: Path) -> None:
    assert _va(_file(tmp_path, "arousal,valence", "0.1,0.2")) == [[0.2, 0.1]]
    units = strict_lists.labels(_file(tmp_path, ",".join(reversed(UNITS.split(","))), ",".join("000000000001")), "au")
    assert units == [[1, *[0] * 11]]
    early = ",".join(f"AU{unit}" for unit in strict_lists.EARLY_UNITS)
    units = strict_lists.labels(_file(tmp_path, early, "1,1,1,1,1,1,1,1"), "au")
    assert units == [[1, 1, 1, 1, None, None, 1, 1, None, None, 1, None]]
    assert strict_lists.labels(_file(tmp_path, ",".join(strict_lists.EXPRESSIONS), "7", "-1"), "expr") == [[7], [-1]]
    for task, header, row in (
        ("va", "valence,joy", "0,0"),
        ("expr", ",".join(reversed(strict_lists.EXPRESSIONS)), "1"),
        ("expr", ",".join(strict_lists.EXPRESSIONS[:7]), "7"),
    ):
        with pytest.raises(RefusedError):
            strict_lists.labels(_file(tmp_path, header, row), task)


def test_test_lists(tmp_path: Path) -> None:
    frames = ["frames", ["video45_1/00001.jpg", "video45_1", 1], ["video45_1/00001.jpg", "video45_1", 1]]
    rows = ["video45_1/00001.jpg,", "video45_1/00001.jpg,0.2,0.3"]
    assert strict_lists.test_list(_file(tmp_path, "image_location,valence,arousal", *rows), "va") == frames
    assert strict_lists.test_list(_file(tmp_path, "image_location", *rows), "au") == frames
    assert strict_lists.mtl_list(_file(tmp_path, HEADER, *rows)) == frames[1:]
    assert strict_lists.test_list(_file(tmp_path, "video1.mp4", "119"), "va") == ["videos", "video1", "119"]
    for lines in (["a", "a.mp4"], ["a", "", "b"], ["../a"], ["/a"]):
        with pytest.raises(RefusedError):
            strict_lists.video_list(_file(tmp_path, *lines))


def test_frame_counts_and_partitions(tmp_path: Path) -> None:
    words = ["Name", "is", "video1", *"abcdef", "321"]
    assert (words[2], words[9]) == ("video1", "321")
    assert strict_lists.frame_counts(_file(tmp_path, "video2,12", " ".join(words))) == [("video1", 321), ("video2", 12)]
    assert strict_lists.partition(_file(tmp_path, "000001.jpg 0", "000002.jpg 2")) == [
        ("000001.jpg", "0"),
        ("000002.jpg", "2"),
    ]
    assert strict_lists.partition(_file(tmp_path, "image_id,partition", "1.jpg,1")) == [("1.jpg", "1")]
    for lines in (["a,-1"], ["a,١"], ["a,0"], ["a,1", "a,2"], ["a,1_0"]):
        with pytest.raises(RefusedError):
            strict_lists.frame_counts(_file(tmp_path, *lines))
    for lines in (["000001.jpg 3"], ["000001.jpg"], ["1.jpg 0", "1.jpg 1"]):
        with pytest.raises(RefusedError):
            strict_lists.partition(_file(tmp_path, *lines))


def test_finished_videos(tmp_path: Path) -> None:
    header, row = ",".join(strict_settings.FINISHED), f"a,/videos/a.mp4,9,5,2,29.97,64,48,,1.5,1,7,{'0f' * 32}"
    (tmp_path / "videos.csv").write_text(f"{header}\n{row}\n")
    read = ["a", "/videos/a.mp4", 9, 5, 2, 29.97, 64, 48, None, 1.5, 1, 7, "0f" * 32]
    assert strict_settings.finished_videos(tmp_path) == [read]
    earlier = "".join(f"{line.rsplit(',', 3)[0]}\n" for line in (header, row))
    (tmp_path / "videos.csv").write_text(earlier)
    assert strict_settings.finished_videos(tmp_path) == [read[:10]]
    for faulty in (
        row.replace("9,5", "9,8"),
        row.replace("a,", "..,", 1),
        row.replace("29.97", "nan"),
        row.replace(",1,7,", ",3,7,"),
        row.replace("0f", "0g"),
        f"{row}\n{row}",
    ):
        (tmp_path / "videos.csv").write_text(f"{header}\n{faulty}\n")
        with pytest.raises(RefusedError):
            strict_settings.finished_videos(tmp_path)


def test_stored_postprocessing(tmp_path: Path) -> None:
    path = tmp_path / "postprocess.json"
    content: dict[str, Any] = {
        "au_thresholds": dict.fromkeys(strict_settings.UNIT_NAMES, 0.5),
        "weights": {"expression": [0.3, 0.7]},
        "temperature": {"expression": 1.5},
        "coverage": {"share": 0.9, "seed": 0, "arousal": 0.3},
        "searched_on": {"split": "val", "rows": 3, "label_files": {"a.txt": "0" * 64}, "expressions": ["neutral"]},
    }
    path.write_text(json.dumps(content))
    assert strict_settings.postprocess(path) == content
    for key, value in (
        ("au_thresholds", {"au1": 2}),
        ("weights", {"expression": [0, 0]}),
        ("temperature", {"valence_arousal": 1}),
        ("temperature", {"expression": 200}),
        ("coverage", {"share": 0.9, "seed": 0}),
        ("coverage", {"share": 0.9, "seed": 0.5, "arousal": 0.3}),
        ("coverage", {"share": 1, "seed": 0, "arousal": 0.3}),
        ("searched_on", {"label_files": {}}),
    ):
        path.write_text(json.dumps({**content, key: value}))
        with pytest.raises(RefusedError):
            strict_settings.postprocess(path)
    path.write_text(json.dumps(content).replace("0.3", "NaN"))
    with pytest.raises(RefusedError):
        strict_settings.postprocess(path)


def test_configurations(tmp_path: Path) -> None:
    content = {
        "a": {"b": [1, 2.5, None, True, "x", "1", "yes"]},
        "c": {},
        "d": "",
        "_target_": "mae.module.MAE",
        "e": 1e-05,
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    assert strict_settings.config(path) == content
    texts = ["a: &x 1\nb: *x", "a: !!python/name:os.system", "a: ${oc.env:HOME}", "a: 1\na: 2", "- a", "1.5: 0"]
    for text in [*texts, "a: .nan", "? [a]\n: 1", "{" * 900]:
        path.write_text(text)
        with pytest.raises(RefusedError):
            strict_settings.config(path)


def test_arrays(tmp_path: Path) -> None:
    path = tmp_path / "0_exp.npy"
    for value in (np.array("3"), np.array(3.0), np.array([3]), np.array(b"3")):
        np.save(path, value)
        assert strict_binary.annotation(path, "exp") == 3
    np.save(path, np.array(-2.0))
    assert strict_binary.annotation(path, "val") == -2
    for value in (np.array("1_0"), np.array(np.nan), np.array([1, 2]), np.array(11), np.array("٣")):
        np.save(path, value)
        with pytest.raises(RefusedError):
            strict_binary.annotation(path, "exp")
    np.save(path, np.array([None]), allow_pickle=True)
    with pytest.raises(RefusedError):
        strict_binary.annotation(path, "exp")
    np.save(path, np.array(3))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(RefusedError):
        strict_binary.annotation(path, "exp")
