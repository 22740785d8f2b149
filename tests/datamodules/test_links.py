"""Links below the data's folders that lead out of them: refused by every data module, or followed where asked to."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from affect.errors import DataError
from affect.labels import LSD_FOLDERS
from datamodules.affectnet import AffectNetDataModule
from datamodules.affwild2_joint import AffWild2JointDataModule
from datamodules.affwild2_mtl import AffWild2ExpressionDataModule, MTLDataModule
from datamodules.affwild2_uni import AffWild2UniDataModule
from datamodules.base import FaceDataModule
from datamodules.faces import FacesDataModule
from datamodules.links import Links
from datamodules.listing import list_images
from datamodules.lsd import LSDDataModule
from features.datamodule import FeaturesDataModule
from features.store import open_store
from features.store_files import StoreInfo
from tests.datamodules.conftest import HEADER, LABELS, write_picture, write_release

SIZES: dict[str, Any] = {"image_size": 16, "batch_size": 2}


def write_mtl(root: Path) -> None:
    for video, name in (("a", "training"), ("b", "validation")):
        write_picture(root / f"cropped_aligned/{video}/00001.jpg", 1, size=16)
        (root / f"{name}_set_annotations.txt").write_text(f"{HEADER}\n{video}/00001.jpg,{LABELS}\n")


def write_uni(root: Path) -> None:
    write_picture(root / "cropped_aligned/a/00001.jpg", 1, size=16)
    (root / "VA_Estimation_Challenge/Train_Set").mkdir(parents=True)
    (root / "VA_Estimation_Challenge/Train_Set/a.txt").write_text("valence,arousal\n0.5,0.5\n")


def write_folders(root: Path) -> None:
    for number in range(8):
        write_picture(root / f"train/{number}/a.jpg", number, size=16)


def write_lsd(root: Path) -> None:
    for names in LSD_FOLDERS:
        write_picture(root / f"train/{names[0]}/a.jpg", 1, size=16)
    write_picture(root / "test/0.jpg", 1, size=16)
    (root / "list.txt").write_text("image,expression\n0.jpg\n")


def write_faces(root: Path) -> None:
    for number in range(4):
        write_picture(root / f"deep/down/{number}.jpg", number, size=16)
    (root / "list_eval_partition.txt").write_text("".join(f"{number}.jpg 0\n" for number in range(4)))


Make = Callable[..., FaceDataModule]
LAYOUTS: dict[str, tuple[Callable[[Path], None], Make, str, list[str]]] = {
    "MTL": (write_mtl, MTLDataModule, "train",
            ["cropped_aligned", "cropped_aligned/a", "cropped_aligned/a/00001.jpg", "training_set_annotations.txt"]),
    "expressions of MTL": (write_mtl, AffWild2ExpressionDataModule, "train", ["cropped_aligned/a/00001.jpg"]),
    "uni-task": (write_uni, lambda root, **options: AffWild2UniDataModule(root, task="va", **options), "train",
                 ["cropped_aligned", "cropped_aligned/a", "cropped_aligned/a/00001.jpg", "VA_Estimation_Challenge",
                  "VA_Estimation_Challenge/Train_Set/a.txt"]),
    "joint": (write_uni, lambda root, **options: AffWild2JointDataModule(
                  root, tasks=["va"], shared_videos="keep", **options), "train",
              ["cropped_aligned/a/00001.jpg", "VA_Estimation_Challenge/Train_Set/a.txt"]),
    "AffectNet's folders": (write_folders, AffectNetDataModule, "train", ["train", "train/3", "train/3/a.jpg"]),
    "AffectNet's release": (lambda root: write_release(root / "train_set", [1, 2, 3]), AffectNetDataModule, "train",
                            ["train_set", "train_set/images", "train_set/images/1.jpg",
                             "train_set/annotations/1_exp.npy"]),
    "LSD": (write_lsd, LSDDataModule, "train", ["train", "train/FEAR", "train/FEAR/a.jpg"]),
    "LSD's test": (write_lsd, lambda root, **options: LSDDataModule(
                       root, test_list="list.txt", test_root=f"{root}/test", **options), "test",
                   ["test/0.jpg", "list.txt"]),
    "faces": (write_faces, FacesDataModule, "train",
              ["deep", "deep/down", "deep/down/2.jpg", "list_eval_partition.txt"]),
}  # fmt: skip
CASES = [(layout, name) for layout, (*_, names) in LAYOUTS.items() for name in names]


def replace_by_link(path: Path, target: Path) -> None:
    """Move a file or folder away, and link to where it is now."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize("cached", [False, True], ids=["listed", "kept"])
@pytest.mark.parametrize(("layout", "name"), CASES)
def test_a_link_that_leads_out_is_one_error_and_followed_where_asked_to(
    tmp_path: Path, layout: str, name: str, cached: bool
) -> None:
    write, make, split, _ = LAYOUTS[layout]
    root, outside = tmp_path / "root", tmp_path / "outside" / Path(name).name
    write(root)
    options: dict[str, Any] = dict(SIZES)
    if cached and layout not in ("MTL", "expressions of MTL"):
        options["cache_dir"] = str(tmp_path / "cache")
    before = list(make(str(root), **options).read_split(split)[1])
    replace_by_link(root / name, outside)
    for again in range(1 + cached):  # the second time from the cache, which the first one has filled
        followed = list(make(str(root), follow_outside=True, **options).read_split(split)[1])
        assert followed == before
        with pytest.raises(DataError) as error:
            make(str(root), **options).read_split(split)
        assert str(error.value).startswith(f"{root / name} is a link that leads out of the data's folder, to {outside}")
        assert "data.follow_outside=true" in str(error.value), again


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_root_itself_may_be_a_link_and_links_inside_are_followed(tmp_path: Path, layout: str) -> None:
    write, make, split, names = LAYOUTS[layout]
    write(tmp_path / "disk/root")
    (tmp_path / "root").symlink_to(tmp_path / "disk/root")
    root = tmp_path / "root"
    before = list(make(str(root), **SIZES).read_split(split)[1])
    assert all(before)
    replace_by_link(root / names[-1], tmp_path / "disk/root/.moved" / Path(names[-1]).name)
    assert list(make(str(root), **SIZES).read_split(split)[1]) == before


def test_links_from_one_root_into_another_are_followed(tmp_path: Path) -> None:
    for make, write in ((MTLDataModule, write_mtl), (FacesDataModule, write_faces)):
        one, two = tmp_path / make.__name__ / "one", tmp_path / make.__name__ / "two"
        write(one)
        name = "cropped_aligned/a/00001.jpg" if make is MTLDataModule else "deep/down"
        replace_by_link(one / name, two / "moved" / Path(name).name)
        assert all(make([str(one), str(two)], **SIZES).read_split("train")[1])
        with pytest.raises(DataError, match=Path(name).name):
            make(str(one), **SIZES).read_split("train")


def test_folders_that_the_configuration_names_elsewhere_are_roots_of_their_own(tmp_path: Path) -> None:
    write_mtl(tmp_path / "root")
    (tmp_path / "root/cropped_aligned").rename(tmp_path / "crops")
    for images in (str(tmp_path / "crops"), "../crops"):
        assert all(MTLDataModule(str(tmp_path / "root"), images=images, **SIZES).read_split("train")[1])
    replace_by_link(tmp_path / "crops/a/00001.jpg", tmp_path / "outside/00001.jpg")
    for images in (str(tmp_path / "crops"), "../crops"):
        with pytest.raises(DataError, match=r"a/00001\.jpg is a link"):
            MTLDataModule(str(tmp_path / "root"), images=images, **SIZES).read_split("train")


def test_what_features_are_told_holds_for_their_labels(tmp_path: Path) -> None:
    info = StoreInfo(network="x", sha256="0", embedding=1, outputs=(), images="cropped_aligned", image_size=8)
    open_store(tmp_path / "store", info)
    for follow in (False, True):
        labels = MTLDataModule(str(tmp_path), **SIZES)
        data = FeaturesDataModule(str(tmp_path / "store"), labels, follow_outside=follow, **SIZES)
        assert data.labels.links().follow_outside is follow


def test_a_target_that_changes_behind_a_kept_listing_is_noticed(tmp_path: Path) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    (root / "faces").mkdir(parents=True)
    (root / "inside").mkdir()
    (root / "inside/a.jpg").touch()
    (root / "faces/a.jpg").symlink_to(root / "inside/a.jpg")
    assert "faces/a.jpg" in list_images(root, cache, Links(root, follow_outside=False), recursive=True)
    replace_by_link(root / "inside", tmp_path / "outside")
    with pytest.raises(DataError):
        list_images(root, cache, Links(root, follow_outside=False), recursive=True)


def test_no_file_is_asked_for_by_itself(tmp_path: Path, monkeypatch) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for number in range(50):
        (root / f"{number}.jpg").touch()
    asked: list[str] = []
    for name in ("lstat", "stat"):

        def ask(real: Callable, path: Any, *args: Any, **options: Any) -> os.stat_result:
            asked.append(str(path))
            return real(path, *args, **options)

        monkeypatch.setattr(os, name, partial(ask, getattr(os, name)))
    links = Links(root, follow_outside=False)
    for _ in range(2):
        assert len(list_images(root, tmp_path / "cache", links)) == 50
    assert asked
    assert not [path for path in asked if path.endswith(".jpg")]
