"""Packing and unpacking: the bytes come back, a killed call is gone on with, and what cannot be packed is told."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prepare
from affect.checksums import file_sha256
from affect.errors import DataError
from affect.files import LockedError, locked
from datamodules.packing import write_pack
from datamodules.packs import HEADER, INDEX, Pack, shard_name
from datamodules.unpacking import check_pack, unpack
from tests.kills import killed

FILES = {
    "list.txt": b"image\n",
    "a/00001.jpg": b"one" * 300,
    "a/00002.JPG": b"",
    "a/._00001.jpg": b"mac",
    "a/notes": b"\0\xff",
    "b/c/0_exp.npy": b"number",
    "b/c/0.png": b"x" * 512,
    "b" * 120 + "/" + "n" * 90 + ".jpg": b"long",
    "1.jpg": b"root",
}


def make(root: Path, files: dict[str, bytes] = FILES) -> Path:
    for number, (name, content) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + number))
    (root / "nothing").mkdir()
    return root


def facts(root: Path) -> dict[str, object]:
    """Hash, time of change and mode of every file, and every folder."""
    return {
        str(path.relative_to(root)): (file_sha256(path), path.stat().st_mtime_ns, path.stat().st_mode)
        if path.is_file()
        else None
        for path in root.rglob("*")
    }


def test_unpacking_restores_every_file_and_folder_and_tar_reads_the_archives(tmp_path: Path) -> None:
    root = make(tmp_path / "root")
    (root / "a/00001.jpg").chmod(0o600)
    assert write_pack(root, tmp_path / "pack", shard_size=500) == (7, 3, 2)
    assert unpack(tmp_path / "pack", tmp_path / "back") == (9, [])
    assert facts(tmp_path / "back") == facts(root)
    for number in range(3):
        with tarfile.open(tmp_path / "pack" / shard_name(number)) as archive:
            archive.extractall(tmp_path / "tar", filter="data")
    packed = {row.path for row in Pack(tmp_path / "pack").rows()}
    assert packed == FILES.keys() - {"list.txt", "a/notes"}
    assert {name: (tmp_path / "tar" / name).read_bytes() for name in packed} == {name: FILES[name] for name in packed}


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=20)
TREES = st.dictionaries(
    st.tuples(st.sampled_from(["", "x/", "x/y/", "ü/"]), NAMES, st.sampled_from([".jpg", ".PNG", ".npy", ".txt"])),
    st.binary(max_size=1100),
    min_size=1,
    max_size=8,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES, size=st.integers(1, 3000))
def test_any_tree_comes_back(tmp_path_factory: pytest.TempPathFactory, tree, size: int) -> None:
    folder = tmp_path_factory.mktemp("tree")
    root = make(folder / "root", {"".join(parts): content for parts, content in tree.items()} | {"0.jpg": b"0"})
    write_pack(root, folder / "pack", shard_size=size)
    unpack(folder / "pack", folder / "back")
    assert facts(folder / "back") == facts(root)


def test_names_that_are_not_utf8_come_back(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(b"data")
    write_pack(root, tmp_path / "pack")
    unpack(tmp_path / "pack", tmp_path / "back")
    assert facts(tmp_path / "back") == facts(root)


@pytest.mark.parametrize("point", ["file.written@pack-00001.tar", "pack.shard@pack-00001.tar", "file.written@pack.npz"])
def test_a_killed_packing_is_gone_on_with(tmp_path: Path, point: str, capsys) -> None:
    files = {f"v/{number}.jpg": bytes([number]) * 700_000 for number in range(4)}
    root, pack = make(tmp_path / "root", files), tmp_path / "pack"
    arguments = ["pack", str(root), "--out", str(pack), "--megabytes", "1"]
    assert killed(point, "prepare.py", *arguments).returncode == -9
    if "tar" in point:
        assert (pack / shard_name(0)).is_file()
        assert (pack / shard_name(1)).is_file() == point.startswith("pack.shard")
    with pytest.raises(DataError, match="packing was not finished"):
        check_pack(pack)
    first = (pack / shard_name(0)).stat().st_mtime_ns
    prepare.main(arguments)
    assert (pack / shard_name(0)).stat().st_mtime_ns == first  # not written again
    assert sorted(path.name for path in pack.iterdir()) == sorted(
        [HEADER, INDEX, "v", "nothing", shard_name(0), shard_name(1)]
    )
    assert "4 files in 2 archives, 0 files as they were" in capsys.readouterr().out
    prepare.main(["pack", str(pack)])
    assert "4 packed files and 0 others, all as packed" in capsys.readouterr().out
    prepare.main(["unpack", str(pack), "--out", str(tmp_path / "back")])
    assert facts(tmp_path / "back") == facts(root)


def test_an_archive_whose_files_changed_is_begun_anew(tmp_path: Path) -> None:
    root, pack = make(tmp_path / "root", {f"{number}.jpg": bytes(700_000) for number in range(4)}), tmp_path / "pack"
    arguments = ["pack", str(root), "--out", str(pack), "--megabytes", "1"]
    assert killed("file.written@pack.npz", "prepare.py", *arguments).returncode == -9
    (root / "0.jpg").write_bytes(b"new")
    write_pack(root, pack)
    assert sorted(path.name for path in pack.glob("*.tar")) == [shard_name(0)]
    unpack(pack, tmp_path / "back")
    assert facts(tmp_path / "back") == facts(root)


def test_a_killed_unpacking_leaves_nothing_under_its_name_and_is_gone_on_with(tmp_path: Path) -> None:
    root, pack, back = make(tmp_path / "root"), tmp_path / "pack", tmp_path / "back"
    write_pack(root, pack)
    assert killed("unpack.written", "prepare.py", "unpack", str(pack), "--out", str(back)).returncode == -9
    assert not back.exists()
    (tmp_path / ".back.unpacking/a/00001.jpg").write_bytes(b"half")
    unpack(pack, back)
    assert facts(back) == facts(root)


def test_every_changed_file_is_found_and_none_is_restored(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    write_pack(make(tmp_path / "root"), pack, shard_size=600)
    (pack / "added.txt").write_text("later")
    assert check_pack(pack)[1] == []
    assert unpack(pack, tmp_path / "whole")[1] == ["added.txt"]
    for name, at in ((shard_name(1), 5), ("list.txt", 0)):  # the first in the archive's own header
        content = bytearray((pack / name).read_bytes())
        content[at] ^= 1
        (pack / name).write_bytes(content)
    (pack / "a/notes").unlink()
    _, wrong = check_pack(pack)
    assert [line.split(": ")[0].rpartition("/")[2] for line in wrong] == [shard_name(1), "list.txt", "notes"]
    with pytest.raises(DataError, match="3 files of the pack are damaged"):
        prepare.main(["pack", str(pack)])
    with pytest.raises(DataError, match=r"not as it was packed|cannot be read"):
        unpack(pack, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    (tmp_path / "secret").write_bytes(FILES["list.txt"])
    (pack / "list.txt").unlink()
    (pack / "list.txt").symlink_to(tmp_path / "secret")
    assert any("list.txt is a link that leads out" in line for line in check_pack(pack)[1])


def test_links_are_packed_as_what_they_lead_to_if_they_stay_inside(tmp_path: Path) -> None:
    root = make(tmp_path / "root")
    (root / "a/5.jpg").symlink_to("00001.jpg")
    outside = tmp_path / "far"
    outside.mkdir()
    (outside / "1.jpg").write_bytes(b"far")
    (root / "far").symlink_to(outside)
    with pytest.raises(DataError, match=r"far is a link that leads out .* --follow-outside"):
        write_pack(root, tmp_path / "pack")
    write_pack(root, tmp_path / "pack", follow_outside=True)
    unpack(tmp_path / "pack", tmp_path / "back")
    assert (tmp_path / "back/a/5.jpg").read_bytes() == FILES["a/00001.jpg"]
    assert (tmp_path / "back/far/1.jpg").read_bytes() == b"far"
    (root / "far").unlink()
    (root / "again").symlink_to("a")
    with pytest.raises(DataError, match=r"leads to the same folder as .*: a pack has each folder once"):
        write_pack(root, tmp_path / "other")
    (root / "again").unlink()
    (root / "lost.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(DataError, match=r"lost\.jpg: it is no regular file, or a link to nothing\. Remove it"):
        write_pack(root, tmp_path / "other", follow_outside=True)
    assert not (tmp_path / "other").exists()


def test_places_that_cannot_be_used_are_told_before_anything_is_written(tmp_path: Path) -> None:
    root, pack = make(tmp_path / "root"), tmp_path / "pack"
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "empty").mkdir()
    for source, target, message in (
        (tmp_path / "none", pack, "no such folder"),
        (tmp_path / "empty", pack, "no picture"),
        (root, root / "pack", "not apart"),
        (root, tmp_path, "not apart"),
        (root, tmp_path / "full", "holds something else"),
    ):
        with pytest.raises(DataError, match=message):
            write_pack(source, target)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["file"]
    assert not pack.exists()
    write_pack(root, pack)
    for source, target, message in (
        (root, pack, "is a finished pack"),
        (pack, tmp_path / "second", "is a pack: unpack"),
    ):
        with pytest.raises(DataError, match=message):
            write_pack(source, target)
    for source, target, message in (
        (root, tmp_path / "back", "is no pack"),
        (pack, tmp_path / "full", "is there already"),
        (pack, pack / "back", "in the pack"),
    ):
        with pytest.raises(DataError, match=message):
            unpack(source, target)
    with pytest.raises(SystemExit):
        prepare.main(["pack", str(root), "--out", str(tmp_path / "x"), "--megabytes", "0"])
    (tmp_path / "busy").mkdir()
    with locked(tmp_path / "busy", "pack"), pytest.raises(LockedError, match="another process"):
        write_pack(root, tmp_path / "busy")
