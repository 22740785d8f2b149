"""Sources that come as they are: what may be read, at which pace, and what waits for the network."""

from __future__ import annotations

import contextlib
import errno
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import DataError
from videos import live
from videos.decoding import Picture, decode
from videos.live import Stream, Waiting, camera_problem, paced, source_of, told_of

NOTHING = np.zeros((1, 1, 3), np.uint8)


def film(path: Path, count: int = 12, kind: str | None = None) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream("mpeg4" if kind is None else "mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p" if kind is None else "yuvj420p"
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * number, np.uint8), format="bgr24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@contextmanager
def served(
    folder: Path,
    seen: list[str] | None = None,
    redirect: str = "",
    cut: int | None = None,
    context: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """Serve a folder; ``/redirect`` leads elsewhere, and ``/cut`` promises a whole clip and sends a part of it."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args, **options):
            super().__init__(*args, directory=str(folder), **options)

        def log_message(self, *args):
            pass

        def do_GET(self):
            if seen is not None:
                seen.append(self.path)
            if self.path == "/redirect":
                self.send_response(302)
                self.send_header("Location", redirect)
                self.end_headers()
            elif self.path == "/cut":
                content = (folder / "clip.mkv").read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[:cut])
            elif self.path == "/camera":  # as many network cameras send it
                content = (folder / "clip.mjpeg").read_bytes()
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=ffmpeg")
                self.end_headers()
                self.wfile.write(content)
            else:
                super().do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http{'s' * (context is not None)}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def stream(given: object) -> Stream:
    found = source_of(given)
    assert found is not None
    return found


def test_files_are_not_live_and_whatever_ffmpeg_would_open_besides_is_refused(tmp_path: Path) -> None:
    (tmp_path / "concat:a").write_bytes(b"")
    for given_path in ("clip.mp4", "/a/b.mkv", ["a.mp4", "b.mp4"], str(tmp_path / "concat:a"), "C:\\clip.mp4"):
        assert source_of(given_path) is None
    with pytest.raises(DataError, match=r"source: http://…@a/b is live, and one at a time is"):
        source_of(["a.mp4", "http://me@a/b"])
    for refused in (
        "file:///etc/passwd", "FILE:a.mp4", "concat:a.mp4|b.mp4", "concatf:a", "data:video/mp4;base64,AA", "pipe:0",
        "subfile:,,start,0,end,9,,:a", "ftp://host/a.mp4", "tcp://host:1", "udp://@:5000", "rtmp://host/a",
        "hls+http://host/a", "crypto+http://host/a", "async:http://host/a", "cache:file:a", "tee:a", "rtsps://host/a",
    ):  # fmt: skip
        with pytest.raises(DataError, match="is not read"):
            source_of(refused)
    for playlist in (
        "http://h/a.m3u8",
        "https://h/A.M3U8?x=1",
        "http://h/a.mpd",
        "http://h/%61.m3u8",
        "rtsp://h/a.sdp",
    ):
        with pytest.raises(DataError, match="a playlist leads to other files"):
            source_of(playlist)
    for odd in ("http:", "http:///a", "http://h:port/a", "http://[::1/a", "http://h/a b"):
        with pytest.raises(DataError, match="no address"):
            source_of(odd)


def test_names_are_of_the_address_and_secrets_are_not_told() -> None:
    one = stream("rtsp://me:secret@10.0.0.3:554/live/Door%201.sdp?token=secret".replace(".sdp", ""))
    assert (one.name, one.told) == ("Door-1", "rtsp://…@10.0.0.3:554/live/Door%201?…")
    assert "secret" not in f"{one.told} {one.name}"
    assert stream("http://cam.local/").name == "cam.local"
    assert stream("http://cam.local/../..").name == "cam.local"
    assert stream("https://h/clip.mp4#t=secret").told == "https://h/clip.mp4?…"
    assert told_of("http://a:b@c@d/e@f") == "http://…@d/e@f"
    assert (stream(3).place, stream(3).name) == ("/dev/video3", "camera3")


def test_a_camera_that_is_not_there_or_busy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    with pytest.raises(DataError, match=r"^camera 99: no such camera here; there (is none|are? /dev/video)"):
        next(stream(99).pictures())
    with pytest.raises(DataError, match="counted from 0"):
        source_of(-1)

    def busy(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(av, "open", busy)
    with pytest.raises(DataError, match=r"^camera 0: another program has it"):
        next(stream(0).pictures())
    assert "permission" in camera_problem(PermissionError(errno.EACCES, "denied"))
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(DataError, match="on Linux alone"):
        source_of(0)


def test_a_file_comes_over_http_as_it_is_read_from_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(live, "paced", lambda pictures: paced(pictures, lambda: 0.0, waits.append))
    clip = film(tmp_path / "clip.mkv")
    with served(tmp_path, redirect="/clip.mkv") as host:
        for place in ("clip.mkv", "redirect"):
            waits.clear()
            found = list(stream(f"{host}/{place}").pictures())
            for ours, theirs in zip(found, decode(clip), strict=True):
                assert ours.time == theirs.time
                np.testing.assert_array_equal(ours.image, theirs.image)
            np.testing.assert_allclose(waits, np.arange(1, 12) / 25, atol=1e-3)


def test_a_camera_of_the_network_comes_without_times_of_its_own(tmp_path: Path) -> None:
    film(tmp_path / "clip.mjpeg", kind="mpjpeg")
    found: list[Picture] = []
    # such a stream has no end of its own: where the connection ends, it has broken off
    with served(tmp_path) as host, pytest.raises(DataError, match="it broke off"):
        found.extend(stream(f"{host}/camera").pictures())
    assert len(found) == 12
    assert {one.time for one in found} == {None}


@pytest.mark.parametrize("suffix", [".m3u8", ""])
def test_playlists_lead_nowhere(tmp_path: Path, suffix: str) -> None:
    """By their names they are refused at once; under other names FFmpeg finds out, and asks nobody."""
    av = pytest.importorskip("av")
    film(tmp_path / "clip.mp4")
    seen: list[str] = []
    with served(tmp_path, seen) as host:
        playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"
        texts = {
            "hls-file": playlist.format(f"file://{tmp_path}/clip.mp4"),
            "hls-host": playlist.format(f"{host}/clip.mp4"),
            "concat": f"ffconcat version 1.0\nfile {tmp_path}/clip.mp4\n",
            "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>{host}/clip.mp4'
            "</BaseURL></Period></MPD>",
            "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        }  # fmt: skip
        for name, text in texts.items():
            (tmp_path / f"{name}{suffix}").write_text(text)
            with pytest.raises(DataError, match=r"(?i)playlist"):
                next(stream(f"{host}/{name}{suffix}").pictures())
        if not suffix:  # FFmpeg itself would read the first by that name: it is our list that forbids it
            assert "/hls-file" in seen
            (tmp_path / "hls.m3u8").write_text(texts["hls-file"])
            with av.open(f"file:{tmp_path}/hls.m3u8", options={"allowed_extensions": "ALL"}) as container:
                assert container.format.name == "hls"
    assert not [path for path in seen if "clip" in path]


def rtsp_server(content: bytes, seen: list[str]) -> tuple[socket.socket, threading.Thread]:
    """A camera that speaks just enough RTSP: an MPEG transport stream in RTP, in the connection itself."""
    listening = socket.create_server(("127.0.0.1", 0))
    described = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track1\r\n"

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as asked:
            while line := asked.readline().decode():
                fields = {}
                while (field := asked.readline().decode().strip()) != "":
                    name, _, value = field.partition(": ")
                    fields[name] = value
                method = line.split()[0]
                seen.append(f"{method} {fields.get('Transport', '')}".strip())
                more = {
                    "OPTIONS": "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
                    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(described)}\r\n",
                    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
                }.get(method, "")
                answer = f"RTSP/1.0 200 OK\r\nCSeq: {fields['CSeq']}\r\nSession: 1\r\n{more}\r\n"
                connection.sendall((answer + (described if method == "DESCRIBE" else "")).encode())
                if method == "PLAY":
                    for number, start in enumerate(range(0, len(content), 1316)):
                        packet = (
                            struct.pack(">BBHII", 0x80, 33, number, number * 100, 1) + content[start : start + 1316]
                        )
                        connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return listening, thread


def test_a_camera_speaks_rtsp_over_one_connection(tmp_path: Path) -> None:
    clip, seen = film(tmp_path / "clip.ts"), list[str]()
    listening, thread = rtsp_server(clip.read_bytes(), seen)
    found: list[Picture] = []
    with listening, contextlib.suppress(DataError):  # it ends by hanging up
        found.extend(stream(f"rtsp://127.0.0.1:{listening.getsockname()[1]}/stream1").pictures())
    thread.join(5)
    assert len(found) >= 10
    assert {one.time for one in found} == {None}
    assert found[0].image.shape == (48, 64, 3)
    assert [one for one in seen if "SETUP" in one] == ["SETUP RTP/AVP/TCP;unicast;interleaved=0-1"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="it makes the certificate")
def test_https_needs_a_certificate_that_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "clip.mkv", 3)
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with served(tmp_path, context=context) as host:
        with pytest.raises(DataError, match="its certificate one that this machine trusts"):
            next(stream(f"{host}/clip.mkv").pictures())
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert len(list(stream(f"{host}/clip.mkv").pictures())) == 3


def test_a_server_cannot_send_us_to_a_file(tmp_path: Path) -> None:
    film(tmp_path / "clip.mp4")
    for place in (f"file://{tmp_path}/clip.mp4", f"concat:{tmp_path}/clip.mp4", "tcp://127.0.0.1:1", "gopher://h/"):
        with served(tmp_path, redirect=place) as host, pytest.raises(DataError, match="http://127"):
            next(stream(f"{host}/redirect").pictures())


def test_a_stream_that_breaks_off_says_so_after_its_pictures(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mkv", 40)
    found: list[Picture] = []
    with (
        served(tmp_path, cut=clip.stat().st_size * 2 // 3) as host,
        pytest.raises(DataError, match=r"^http://127.*/cut: it broke off"),
    ):
        found.extend(stream(f"{host}/cut").pictures())
    assert 3 < len(found) < 40


def test_nobody_there_and_no_video_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<!doctype html><p>no video")
    with served(tmp_path) as host:
        for place, told in (("page", "no video in a form"), ("none", "404 Not Found")):
            with pytest.raises(DataError, match=told):
                next(stream(f"{host}/{place}").pictures())
    with pytest.raises(DataError, match="refused"):
        next(stream(f"{host}/page").pictures())


def test_pictures_are_held_back_until_their_time_and_late_ones_come_at_once() -> None:
    now = [100.0]
    times: list[float | None] = [5.0, 5.04, None, 5.08, 5.2]
    slow = [0.0, 0.0, 0.0, 0.1, 0.0]

    def come() -> Iterator[Picture]:
        for time, seconds in zip(times, slow, strict=True):
            now[0] += seconds
            yield Picture(time, NOTHING)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    came = [now[0] for _ in paced(come(), lambda: now[0], sleep)]
    np.testing.assert_allclose(came, [100, 100.04, 100.04, 100.14, 100.2])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["put", "put", "take", "lose"]), max_size=60), st.integers(1, 4), st.booleans())
def test_what_waits_is_the_newest_and_everything_is_counted(steps: list[str], most: int, ends: bool) -> None:
    """Against a plain list: at most so many wait, the oldest goes first, and in the end shown + dropped = sent."""
    waiting, plain = Waiting[int](most), list[int]()
    sent = shown = dropped = 0
    for step in steps:
        if step == "put":
            sent += 1
            assert waiting.put(sent)
            plain.append(sent)
            if len(plain) > most:
                plain.pop(0)
                dropped += 1
        elif plain:
            assert waiting.take() == plain.pop(0)
            waiting.done(shown=step == "take")
            shown, dropped = shown + (step == "take"), dropped + (step == "lose")
        assert (waiting.sent, waiting.shown, waiting.dropped) == (sent, shown, dropped)
        assert sent == shown + dropped + len(plain)
    if ends:
        waiting.end()
        while (item := waiting.take()) is not None:
            assert item == plain.pop(0)
            waiting.done(shown=True)
        assert not plain
    else:
        waiting.stop()
        assert waiting.take() is None
    assert not waiting.put(0)
    assert waiting.shown + waiting.dropped == waiting.sent == sent


def test_nothing_is_lost_between_threads() -> None:
    waiting, taken = Waiting[int](), list[int]()

    def fill() -> None:
        for number in range(3000):
            waiting.put(number)
        waiting.end()

    thread = threading.Thread(target=fill)
    thread.start()
    while (item := waiting.take()) is not None:
        taken.append(item)
        waiting.done(shown=True)
    thread.join()
    assert taken == sorted(set(taken))
    assert taken[-1] == 2999
    assert (waiting.sent, waiting.shown + waiting.dropped, waiting.shown) == (3000, 3000, len(taken))
