"""What all readers of lists refuse alike: names that lead elsewhere, and text that only Python takes for numbers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affect.errors import DataError
from affect.labels import UniTask
from datamodules.affwild2_mtl import MTLDataModule
from datamodules.affwild2_uni import AffWild2UniDataModule
from datamodules.lsd import LSDDataModule
from datamodules.readers.celeba import read_partition
from datamodules.readers.lists import frame_number, parse_numbers
from datamodules.readers.mtl import read_frame_list, read_mtl
from datamodules.readers.uni import read_frame_counts, read_labels, read_test_frames, read_test_videos
from tests.datamodules.conftest import HEADER, LABELS, UNLABELLED

HOSTILE = [
    "/abs/x",
    "a/../../../x",
    "..",
    "../x",
    "./a",
    "a//b",
    "a/./b",
    ".a",
    "a/.b",
    "a\\b",
    "a\0b",
    "a\tb",
    "a\x7fb",
    "ü" * 128,
]


def lsd_list(path: Path) -> Any:
    return LSDDataModule(str(path.parent), image_size=8, batch_size=1, test_list=path.name).read_split("test")


READERS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "MTL labels": (read_mtl, HEADER, "{}/00001.jpg," + LABELS),
    "MTL test list": (read_frame_list, HEADER, "{}/00001.jpg"),
    "uni-task frames": (lambda path: read_test_frames(path, "va"), "image_location,valence,arousal", "{}/00001.jpg,"),
    "uni-task videos": (read_test_videos, "video0", "{}"),
    "frame counts": (read_frame_counts, "video0,7", "{},5"),
    "frame counts, sentences": (read_frame_counts, "The video video0 has a total number of frames 7",
                                "The video {} has a total number of frames 7"),
    "LSD": (lsd_list, "image,expression", "{}.jpg"),
    "CelebA's partition": (read_partition, "000000.jpg 0", "{} 1"),
    "CelebA's partition, commas": (read_partition, "image_id,partition", "{},1"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("reader", READERS)
def test_names_that_lead_elsewhere_are_an_error_with_file_and_line(tmp_path: Path, reader: str, name: str) -> None:
    read, first, row = READERS[reader]
    path = tmp_path / "list.txt"
    path.write_text("\n".join([first, row.format("ok"), row.format(name), row.format("fine")]) + "\n")
    with pytest.raises(DataError) as error:
        read(path)
    assert f"{path}:3: " in str(error.value)
    assert "\n" not in str(error.value)
    assert "\0" not in str(error.value)


@pytest.mark.parametrize("row", ["/abs/x/00001.jpg", "a/../../../x/00001.jpg"])
def test_nothing_is_read_before_the_names_are_checked(tmp_path: Path, monkeypatch, row: str) -> None:
    (tmp_path / "cropped_aligned").mkdir()
    (tmp_path / "training_set_annotations.txt").write_text(f"{HEADER}\nv/00001.jpg,{LABELS}\n{row},{LABELS}\n")
    monkeypatch.setattr(os, "scandir", None)
    with pytest.raises(DataError, match=r"set_annotations\.txt:3: the name is .*, expected a path below"):
        MTLDataModule(str(tmp_path), image_size=8, batch_size=1).setup("fit")


@pytest.mark.parametrize("name", ["a\\b", "a\nb", os.fsdecode(b"a\xff")])
def test_names_of_label_files_become_folders_and_are_checked(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "VA_Set/Train_Set"
    folder.mkdir(parents=True)
    (folder / f"{name}.txt").write_text("valence,arousal\n0.5,0.5\n")
    data = AffWild2UniDataModule(str(tmp_path), task="va", image_size=8, batch_size=1)
    with pytest.raises(DataError, match=r"Train_Set: the name is 'a.*Correct or remove the file") as error:
        data.read_split("train")
    str(error.value).encode()


def test_a_pipe_among_label_files_does_not_hang(tmp_path: Path) -> None:
    folder = tmp_path / "VA_Set/Train_Set"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "a.txt")
    with pytest.raises(OSError, match="a pipe"):
        AffWild2UniDataModule(str(tmp_path), task="va", image_size=8, batch_size=1).read_split("train")


@pytest.mark.parametrize("text", ["0_4", "0.1_4", "٤", "0.٤", "1\t", "one", "", "0x1", "1,,2"])
def test_only_decimal_ascii_is_a_number(text: str) -> None:
    assert parse_numbers(text) is None
    assert parse_numbers(f"0.5,{text}") is None


def test_numbers() -> None:
    numbers = parse_numbers("0.25, -5.0,1e-3,+1,7")
    assert numbers is not None
    assert numbers.tolist() == [0.25, -5, 0.001, 1, 7]
    assert [frame_number(text) for text in ("00001", "2147483647")] == [1, 2147483647]
    assert not any(map(frame_number, ("2147483648", "9" * 20, "9" * 5000, "-1", "1.0", "٤", "")))


@pytest.mark.parametrize(
    ("reader", "row"),
    [
        ("MTL labels", "v/" + "9" * 20 + ".jpg," + LABELS),
        ("MTL test list", "v/" + "9" * 5000 + ".jpg"),
        ("MTL labels", "v/0000٤.jpg," + LABELS),
        ("MTL labels", "v/00001.j/../pg," + LABELS),
        ("MTL labels", "v/00001.jpg," + LABELS.replace("0.25", "0.2_5")),
        ("MTL labels", "v/00001.jpg," + LABELS.replace("0.25", "0.٤")),
        ("frame counts", "v," + "9" * 20),
        ("frame counts", "v,10000001"),
        ("frame counts", "v,1_0"),
        ("frame counts", "ok,6"),
        ("uni-task videos", "ok"),
        ("uni-task videos", "a/b"),
        ("uni-task videos", "a,b"),
        ("uni-task frames", "v/00001.j"),
        ("CelebA's partition", "ok 0"),
        ("CelebA's partition", "a,b 0"),
        ("CelebA's partition", "a,0"),
        ("CelebA's partition, commas", "a 0"),
        ("CelebA's partition, commas", "a/1e1.jpg,"),
        *(
            (reader, text)
            for reader in READERS
            for text in ("\u200bv", "v\rw", "\ufeffv", "a\xa0b", "a\u2028b", "a\0b")
        ),
    ],
)
def test_misreadings_are_an_error_with_file_and_line(tmp_path: Path, reader: str, row: str) -> None:
    read, first, fine = READERS[reader]
    path = tmp_path / "list.txt"
    path.write_text("\n".join([first, fine.format("ok"), row, fine.format("other")]) + "\n")
    with pytest.raises(DataError) as error:
        read(path)
    assert f"{path}:3: " in str(error.value)


def test_labels_of_one_task_take_no_other_digits(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    faces = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    for task, header, row in (("va", "valence,arousal", "0.1_4,0"), ("expr", faces, "٤"), ("expr", faces, "0_4")):
        path.write_text(f"{header}\n{row}\n")
        with pytest.raises(DataError, match=r"v\.txt:2: "):
            read_labels(path, task)  # type: ignore[arg-type]


def labels(task: UniTask) -> Callable[[Path], Any]:
    return lambda path: read_labels(path, task)[0]


EXPRESSIONS = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
AFFECTNET = "Neutral,Happiness,Sadness,Surprise,Fear,Disgust,Anger,Contempt"
NAMED = "image_path,valence,arousal,expression,AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
UNITS = NAMED.partition("expression,")[2]


@pytest.mark.parametrize(
    ("task", "header", "row", "wanted"),
    [
        ("va", "arousal,valence", "0.25,-0.5", [-0.5, 0.25]),
        ("va", " Arousal , VALENCE ,", "-5,-0.5", [np.nan, np.nan]),
        ("au", "AU26,AU25,AU24,AU23,AU15,AU12,AU10,AU7,AU6,AU4,AU2,AU1", "1,0,0,0,0,0,0,0,0,0,-1,0",
         [0, np.nan, *[0] * 9, 1]),
        ("au", "au25,AU20,AU15,AU12,AU6,AU4,AU2,AU1", "1,1,0,0,0,0,1,0",
         [0, 1, 0, 0, np.nan, np.nan, 0, 0, np.nan, np.nan, 1, np.nan]),
        ("expr", EXPRESSIONS.lower(), "4", [4]),
    ],
)  # fmt: skip
def test_columns_follow_the_names_of_a_header(tmp_path: Path, task: UniTask, header, row, wanted) -> None:
    path = tmp_path / "v.txt"
    path.write_text(f"{header}\n{row}\n")
    np.testing.assert_array_equal(labels(task)(path), [wanted])


def test_sixteen_names_in_another_order_are_followed(tmp_path: Path) -> None:
    official, permuted = tmp_path / "official.txt", tmp_path / "permuted.txt"
    rows = [f"v/{number:05d}.jpg,{text}".split(",") for number, text in enumerate((LABELS, UNLABELLED), start=1)]
    names = NAMED.split(",")
    official.write_text("".join(",".join(row) + "\n" for row in (names, *rows)))
    order = np.random.default_rng(0).permutation(len(names))
    permuted.write_text("".join(",".join(row[place] for place in order) + "\n" for row in (names, *rows)))
    wanted, found = read_mtl(official), read_mtl(permuted)
    assert found.image == wanted.image == ["v/00001.jpg", "v/00002.jpg"]
    assert found.expression.tolist() == [4, -1]
    np.testing.assert_array_equal(found.valence_arousal, [[0.25, -0.5], [np.nan, np.nan]])
    np.testing.assert_array_equal(found.action_units, wanted.action_units)
    permuted.write_text(permuted.read_text() + "v/00003.jpg,1\n")
    with pytest.raises(DataError, match=r"permuted\.txt:4: 2 fields where 16"):
        read_mtl(permuted)


@pytest.mark.parametrize(
    ("reader", "header", "message"),
    [
        (labels("expr"), "Anger,Neutral,Disgust,Fear,Happiness,Sadness,Surprise,Other", "do not tell which order"),
        (labels("expr"), "Surprise,Neutral,Anger,Disgust,Fear,Happiness,Sadness", "which order.* if it is this one"),
        (labels("expr"), AFFECTNET, f"header is '{AFFECTNET}', expected '{EXPRESSIONS}'. Is this a label file"),
        (labels("expr"), "N,A,D,F,H,S,Su,O", "Is this a label file of data.task=expr"),
        (labels("va"), "valence,null", "expected 'valence,arousal'. Is this a label file of data.task=va"),
        (labels("va"), "valence,valence", "expected 'valence,arousal'"),
        (labels("au"), UNITS.replace("AU7", "AU5"), "expected 'AU1,AU2,AU4"),
        (read_mtl, "image,arousal,valence,expression,aus", "which order"),
        (read_mtl, NAMED.replace("AU7", "AU5"), "expected 'image,valence,arousal,expression,aus'"),
        (read_frame_list, "valence,image,arousal,expression,aus", "which order"),
        (
            lambda path: read_test_frames(path, "va"),
            "valence,arousal,image_location",
            "expected 'image_location,valence",
        ),
        (lambda path: read_test_frames(path, "va"), f"image_location,{UNITS}", "expected 'image_location,valence"),
        (lsd_list, "expression,image", "which order"),
        (read_partition, "image,partition", "is not an image name"),
    ],
)
def test_another_header_is_an_error_in_line_1(tmp_path: Path, reader, header: str, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"{header}\nv/00001.jpg,0\n")
    with pytest.raises(DataError, match=f"list.txt:1: .*{message}"):
        reader(path)


@pytest.mark.parametrize(
    ("task", "rows", "last", "cut"),
    [
        ("va", ["0.148,0.352", "-0.06,-0.061"], "0.2,-0.35", True),
        ("va", ["0.148,0.352", "-5,-5"], "0.2,-0", True),
        ("va", ["0.148,0.352", "-5,-5"], "0.2,0.", True),
        ("va", ["0.148,0.352", "0.1,0.2"], "0.2,0.35", False),  # both are as whole files are
        ("va", ["0.148,0.352", "0.1,0.25"], "0.2,0.35", False),
        ("va", ["0.148,0.352"], "-5,-5", False),
        ("va", ["0.148,0.352"], "0.1,1e-7", False),
        ("va", [], "0.1,0.2", False),
        ("au", [",".join("01" * 6)], ",".join("10" * 6), False),
        ("au", [",".join(["1.0"] * 12)], ",".join(["1.0"] * 11) + ",1.", True),
        ("expr", ["-1", "-1"], "4", False),
    ],
)
def test_a_last_row_without_its_end(tmp_path: Path, task: UniTask, rows: list[str], last: str, cut: bool) -> None:
    path = tmp_path / "v.txt"
    header = {"va": "valence,arousal", "expr": EXPRESSIONS, "au": UNITS}[task]
    lines = [header, *rows, last]
    path.write_text("\n".join(lines) + "\n")
    whole = labels(task)(path)
    path.write_text("\n".join(lines))
    if cut:
        with pytest.raises(DataError, match=rf"v\.txt:{len(lines)}: the file ends in '.*, without a line end"):
            labels(task)(path)
    else:
        np.testing.assert_array_equal(labels(task)(path), whole)


def test_a_last_image_without_its_end_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"{HEADER}\na.long.name/00001.jpg\nv/00001.jpg")
    assert read_frame_list(path).image == ["a.long.name/00001.jpg", "v/00001.jpg"]
    path.write_text(f"{HEADER}\na/00001.jpg\na/0000")
    with pytest.raises(DataError, match=r"list\.txt:3: the image is 'a/0000', expected"):
        read_frame_list(path)


def test_a_header_alone_is_no_list_of_videos(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    for header in ("image_location,valence,arousal", "Image_Location", "\ufeffimage_location,valence,arousal,"):
        path.write_text(f"{header}\n")
        with pytest.raises(DataError, match="no row after the header"):
            read_test_frames(path, "va")
    path.write_text("image_id,partition\n")
    with pytest.raises(DataError, match="no row after the header"):
        read_partition(path)


@pytest.mark.parametrize("reader", READERS)
def test_marks_line_ends_and_commas_at_ends_are_no_part_of_a_list(tmp_path: Path, reader: str) -> None:
    read, first, row = READERS[reader]
    path = tmp_path / "list.txt"
    lines = [first, row.format("ok"), row.format("fine")]
    contents = [end.join(lines) + last for end in ("\n", "\r\n", ",\n") for last in ("", end, end + "\n \n")]
    for name in ("ok", "fine"):
        (tmp_path / name).with_suffix(".jpg").touch()
    found = []
    for content in contents:
        for mark in (b"", b"\xef\xbb\xbf"):
            path.write_bytes(mark + content.encode())
            found.append(plain(read(path)))
    assert all(one == found[0] for one in found[1:])


def plain(found: Any) -> Any:
    """What a reader gave, without the hash of the file."""
    frames = found[0] if isinstance(found, tuple) else found
    return frames.image if hasattr(frames, "image") else frames


def test_a_byte_order_mark_before_the_partition_loses_no_image(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf000001.jpg 0\r\n000002.jpg 2\r\n")
    assert read_partition(path)[0] == {"000001.jpg": "0", "000002.jpg": "2"}


def test_checking_the_names_of_many_rows_is_cheap(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("\n".join([HEADER, *(f"video{i // 300}/{i % 300 + 1:05d}.jpg" for i in range(100_000)), ""]))
    start = time.process_time()
    assert len(read_frame_list(path)) == 100_000
    assert time.process_time() - start < 2
