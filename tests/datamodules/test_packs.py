"""A pack gives the batches of the folder that was packed, and says what is wrong with it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affect.checksums import CHECKSUM, file_sha256, sealed
from affect.errors import DataError
from datamodules.affectnet import AffectNetDataModule
from datamodules.affwild2_joint import AffWild2JointDataModule
from datamodules.affwild2_mtl import AffWild2ExpressionDataModule, MTLDataModule
from datamodules.affwild2_uni import AffWild2UniDataModule
from datamodules.base import FaceDataModule
from datamodules.faces import FacesDataModule
from datamodules.listing import scan
from datamodules.lsd import LSDDataModule
from datamodules.packing import write_pack
from datamodules.packs import HEADER, INDEX, Pack, PackError, forget, read_file, shard_name
from datamodules.pictures import read_image
from datamodules.transforms import JitterAndCrop
from rendering.cache import draw
from rendering.layouts import LayoutName
from tests.datamodules.conftest import write_picture

VIDEOS = {"train_videos": 4, "val_videos": 2, "frames_per_video": 4}
PEOPLE = {"train_faces": 16, "val_faces": 8}
CASES: list[tuple[LayoutName, type[FaceDataModule], dict[str, Any]]] = [
    ("mtl", MTLDataModule, {}),
    ("mtl", AffWild2ExpressionDataModule, {}),
    ("uni", AffWild2UniDataModule, {"task": "expr"}),
    ("joint", AffWild2JointDataModule, {}),
    ("affectnet", AffectNetDataModule, {}),
    ("affectnet_release", AffectNetDataModule, {"valence_arousal": True}),
    ("lsd", LSDDataModule, {}),
    ("faces", FacesDataModule, {"val_share": 0.3}),
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[LayoutName], tuple[Path, Path]]:
    """Returns a drawn folder of a layout, and its pack, whose archives are small."""
    base = tmp_path_factory.mktemp("packs")

    def made(layout: LayoutName) -> tuple[Path, Path]:
        root, pack = base / layout, base / f"{layout}-pack"
        if not root.exists():
            draw(root, layout, workers=1, seed=1, **(VIDEOS if layout in ("mtl", "uni", "joint") else PEOPLE))
            write_pack(root, pack, shard_size=20_000)
        return root, pack

    return made


def epochs(module: type[FaceDataModule], root: Path, workers: int, **options: Any) -> str:
    """SHA-256 of every value of an epoch of training and one of validation."""
    data = module(root=str(root), image_size=32, batch_size=6, augmentation=JitterAndCrop(image_size=32), seed=3,
                  num_workers=workers, drop_last=False, **options)  # type: ignore[call-arg]  # fmt: skip
    data.setup("fit")
    digest = hashlib.sha256()
    count = 0
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            count += len(batch["row"])
            for key in sorted(batch):
                digest.update(key.encode() + batch[key].numpy().tobytes())
    assert count
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("layout", "module", "options"), CASES, ids=[f"{case[0]}-{case[1].__name__}" for case in CASES]
)
def test_packed_and_loose_give_the_same_batches(layout, module, options, pairs, tmp_path: Path) -> None:
    root, pack = pairs(layout)
    left = [path for path in pack.rglob("*") if path.suffix in (".jpg", ".npy")]
    assert not left
    assert len(list(pack.glob("pack-*.tar"))) > 1
    loose = epochs(module, root, 0, **options)
    assert epochs(module, pack, 0, **options) == loose
    kept = {"cache_dir": str(tmp_path), **options}
    assert [epochs(module, pack, 0, **kept) for _ in range(2)] == [loose] * 2  # the second one from the kept listings


@pytest.mark.parametrize("layout", ["mtl", "affectnet_release"])
def test_loader_processes_share_a_pack(layout: LayoutName, pairs) -> None:
    root, pack = pairs(layout)
    module = MTLDataModule if layout == "mtl" else AffectNetDataModule
    assert epochs(module, pack, 2) == epochs(module, root, 0)


def test_rows_and_names_are_those_of_the_folder_below_any_root_and_through_links(tmp_path: Path, pairs) -> None:
    root, pack = pairs("mtl")
    (tmp_path / "link").symlink_to(pack / "cropped_aligned")
    below = [FacesDataModule(str(one), image_size=32, batch_size=4).read_split("train")[0].image
             for one in (root / "cropped_aligned", pack / "cropped_aligned", tmp_path / "link")]  # fmt: skip
    assert below[0]
    assert below[1:] == [below[0]] * 2
    for path in root.rglob("*"):
        if path.is_file():
            assert read_file(pack / path.relative_to(root)) == path.read_bytes()
    absent = next(root.rglob("*.jpg")).relative_to(root).with_name("99999.jpg")
    with pytest.raises(FileNotFoundError):
        read_file(pack / absent)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A pack of five pictures in two folders and three archives, and a list."""
    for number, name in enumerate(("a/1.jpg", "a/2.jpg", "a/b/1.JPG", "a/b/2.png", "a/b/é.jpg")):
        write_picture(tmp_path / "root" / name, number, size=32)
    (tmp_path / "root" / "list.txt").write_text("image\na/1.jpg\n")
    size = (tmp_path / "root" / "a/1.jpg").stat().st_size
    assert write_pack(tmp_path / "root", tmp_path / "pack", shard_size=size + 1) == (5, 3, 1)
    return tmp_path / "pack"


def test_a_file_beside_the_pack_is_read_and_one_that_is_in_it_too_is_told(pack: Path) -> None:
    write_picture(pack / "a/3.jpg", 9, size=32)
    assert sorted(scan(pack / "a").files) == ["1.jpg", "2.jpg", "3.jpg"]
    assert read_image(pack / "a/3.jpg").shape == (32, 32, 3)
    write_picture(pack / "a/1.jpg", 9, size=32)
    with pytest.raises(DataError, match=r"a/1\.jpg is in the pack .*, too: remove the one that is loose"):
        scan(pack / "a")


def test_a_new_pack_in_the_place_of_another_is_listed_anew(pack: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"image_size": 32, "batch_size": 2, "cache_dir": str(tmp_path / "cache")}
    stamps = {folder: folder.stat() for folder in (pack, pack / "a", pack / "a/b")}
    assert len(FacesDataModule(str(pack), val_share=0.01, **options).read_split("train")[0]) == 5
    (tmp_path / "root/a/2.jpg").unlink()
    shutil.rmtree(pack)
    write_pack(tmp_path / "root", pack)
    for folder, status in stamps.items():
        os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(FacesDataModule(str(pack), val_share=0.01, **options).read_split("train")[0]) == 4


def test_a_changed_byte_stops_the_reading_even_where_unreadable_pictures_are_skipped(pack: Path) -> None:
    archive = pack / shard_name(0)
    content = bytearray(archive.read_bytes())
    content[700] ^= 1
    archive.write_bytes(content)
    forget()
    with pytest.raises(
        PackError, match=r"pack-00000\.tar: 1\.jpg, at byte 512, is not as it was packed.*Copy the pack"
    ):
        read_image(pack / "a/1.jpg")
    data = FacesDataModule(str(pack), image_size=32, batch_size=1, on_unreadable="skip", val_share=0.01)
    with pytest.raises(PackError, match="not as it was packed"):
        list(data.train_dataloader())


def _header(pack: Path, **changes: Any) -> None:
    header = {**json.loads((pack / HEADER).read_text()), **changes}
    header.pop(CHECKSUM)
    (pack / HEADER).write_text(json.dumps(sealed(header)))


def _shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "version": (lambda pack: _header(pack, version=2), r"pack\.json: a pack of version 2, this is for 1\. Pack"),
    "unfinished": (lambda pack: _header(pack, finished=False), r"not finished\. Give prepare\.py pack the same"),
    "header": (lambda pack: _flip(pack / HEADER), r"pack\.json: no header of a pack \(.*\)\. Copy the pack again"),
    "no JSON": (lambda pack: (pack / HEADER).write_text("[" * 100_000), r"pack\.json: no header of a pack"),
    "index": (lambda pack: _flip(pack / INDEX), r"pack\.npz: damaged, or of another pack"),
    "no index": (lambda pack: (pack / INDEX).unlink(), r"pack\.npz: no index of a pack \(.*No such file"),
    "no archive": (lambda pack: (pack / shard_name(1)).unlink(), r"pack-00001\.tar: no such file, but pack\.json"),
    "short": (lambda pack: _shorten(pack / shard_name(2)), r"pack-00002\.tar: \d+ bytes, but pack\.json .* says \d+\."),
    "no folder": (lambda pack: (pack / "a/b").rmdir(), r"a/b: no such folder, but the pack has it"),
    "link": (
        lambda pack: ((pack / shard_name(0)).rename(pack.parent / "x"), (pack / shard_name(0)).symlink_to("../x")),
        r"pack-00000\.tar is a link, and packs are read from their own folder only",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_pack_that_cannot_be_used_is_one_message(fault: str, pack: Path) -> None:
    do, message = FAULTS[fault]
    do(pack)
    forget()
    for use in (scan, lambda folder: read_image(folder / "1.jpg")):
        with pytest.raises(PackError, match=message):
            use(pack / "a")


def _set(key: str, value: Any, row: int = 0) -> Callable[[dict[str, Any]], object]:
    return lambda index: index[key].__setitem__(row, value)


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "beyond the end": (_set("offset", 2**40), "beyond its archive's end"),
    "overflow": (_set("size", 2**63 - 1), "beyond its archive's end"),
    "before the start": (_set("offset", -1), "in no archive"),
    "no such archive": (_set("shard", 3), "in no archive"),
    "a slash": (_set("names", ord("/")), "leads out of its folder"),
    "a zero": (_set("names", 0), "leads out of its folder"),
    "no name": (_set("ends", 0), "names do not fit"),
    "folder upwards": (lambda index: index.update(folders=np.frombuffer(b"\0a\0..", "u1")), "leads out of the pack"),
    "folder elsewhere": (lambda index: index.update(folders=np.frombuffer(b"\0/a\0b", "u1")), "leads out of the pack"),
    "too few folders": (lambda index: index.update(folders=np.frombuffer(b"\0a", "u1")), "folders do not fit"),
    "floats": (lambda index: index.update(size=index["size"] * 1.0), "size is float64"),
    "columns": (lambda index: index.update(crc=index["crc"][1:]), "not of one length"),
    "objects": (lambda index: index.update(crc=np.array([print], dtype=object)), "no index of a pack"),
    "dots": (
        lambda index: index.update(
            names=np.frombuffer(b"..a" + index["names"][5:].tobytes(), "u1"),
            ends=index["ends"] - np.array([3, 7, 7, 7, 7]) + np.array([0, 5, 5, 5, 5]),
        ),
        "no index of a pack",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", HOSTILE)
def test_an_index_of_anybody_leads_nowhere_else(fault: str, pack: Path) -> None:
    with np.load(pack / INDEX) as stored:
        index = {key: stored[key].copy() for key in stored.files}
    do, message = HOSTILE[fault]
    do(index)
    file = io.BytesIO()
    np.savez(file, **index)
    (pack / INDEX).write_bytes(file.getvalue())
    _header(pack, index=file_sha256(pack / INDEX))
    with pytest.raises(PackError, match=message):
        Pack(pack)
