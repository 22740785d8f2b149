"""What all readers of lists refuse alike: names that lead elsewhere, and text that only Python takes for numbers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datamodules.affwild2 import MTLDataModule
from datamodules.affwild2_uni import AffWild2UniDataModule
from datamodules.annotations import read_frame_list, read_mtl
from datamodules.lists import AnnotationError, frame_number, parse_numbers
from datamodules.lsd import LSDDataModule
from datamodules.uni_annotations import read_frame_counts, read_labels, read_test_frames, read_test_videos
from datamodules.unlabelled import read_partition
from tests.datamodules.conftest import HEADER, LABELS

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
    "LSD": (lsd_list, "image,expression", "{}/0.jpg"),
    "CelebA's partition": (read_partition, "000000.jpg 0", "{} 1"),
    "CelebA's partition, commas": (read_partition, "image_id,partition", "{},1"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("reader", READERS)
def test_names_that_lead_elsewhere_are_an_error_with_file_and_line(tmp_path: Path, reader: str, name: str) -> None:
    read, first, row = READERS[reader]
    path = tmp_path / "list.txt"
    path.write_text("\n".join([first, row.format("ok"), row.format(name), row.format("fine")]) + "\n")
    with pytest.raises(AnnotationError) as error:
        read(path)
    assert f"{path}:3: " in str(error.value)
    assert "\n" not in str(error.value)
    assert "\0" not in str(error.value)


@pytest.mark.parametrize("row", ["/abs/x/00001.jpg", "a/../../../x/00001.jpg"])
def test_nothing_is_read_before_the_names_are_checked(tmp_path: Path, monkeypatch, row: str) -> None:
    (tmp_path / "cropped_aligned").mkdir()
    (tmp_path / "training_set_annotations.txt").write_text(f"{HEADER}\nv/00001.jpg,{LABELS}\n{row},{LABELS}\n")
    monkeypatch.setattr(os, "scandir", None)
    with pytest.raises(AnnotationError, match=r"set_annotations\.txt:3: the name is .*, expected a path below"):
        MTLDataModule(str(tmp_path), image_size=8, batch_size=1).setup("fit")


@pytest.mark.parametrize("name", ["a\\b", "a\nb", os.fsdecode(b"a\xff")])
def test_names_of_label_files_become_folders_and_are_checked(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "VA_Set/Train_Set"
    folder.mkdir(parents=True)
    (folder / f"{name}.txt").write_text("valence,arousal\n0.5,0.5\n")
    data = AffWild2UniDataModule(str(tmp_path), task="va", image_size=8, batch_size=1)
    with pytest.raises(AnnotationError, match=r"Train_Set: the name is 'a.*Correct or remove the file") as error:
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
        ("CelebA's partition", "ok 0"),
    ],
)
def test_misreadings_are_an_error_with_file_and_line(tmp_path: Path, reader: str, row: str) -> None:
    read, first, fine = READERS[reader]
    path = tmp_path / "list.txt"
    path.write_text("\n".join([first, fine.format("ok"), row, fine.format("other")]) + "\n")
    with pytest.raises(AnnotationError) as error:
        read(path)
    assert f"{path}:3: " in str(error.value)


def test_labels_of_one_task_take_no_other_digits(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    faces = "N,A,D,F,H,S,Su,O"
    for task, header, row in (("va", "valence,arousal", "0.1_4,0"), ("expr", faces, "٤"), ("expr", faces, "0_4")):
        path.write_text(f"{header}\n{row}\n")
        with pytest.raises(AnnotationError, match=r"v\.txt:2: "):
            read_labels(path, task)  # type: ignore[arg-type]


def test_a_header_alone_is_no_list_of_videos(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("image_location,valence,arousal\n")
    with pytest.raises(AnnotationError, match="no row after the header"):
        read_test_frames(path, "va")


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
