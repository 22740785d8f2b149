"""The page of a live source: its latest frame with what is said of the faces, for browsers on this machine alone.

It listens on 127.0.0.1, and its address holds a word that nobody else knows, for other people of this machine may
reach that address, too. A page of another host cannot ask for it under a name of its own (DNS rebinding): the Host must
be this one, and the request must not come from another site's page.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, cast

from evaluators.page.markup import filled, script_hash

HOST: Final = "127.0.0.1"
"""The one address on which the page listens."""

_TEMPLATE: Final = Path(__file__).with_name("live.html")
_PATIENCE_S: Final = 10.0  # for a browser that takes nothing


class Latest:
    """The newest of what is shown, as JSON. Whoever is too slow misses those between, and nobody waits for them."""

    def __init__(self) -> None:
        self._item: str | None = None
        self._count = 0
        self._closed = False
        self._changed = threading.Condition()

    def publish(self, item: str) -> None:
        """Replace it."""
        with self._changed:
            self._item, self._count = item, self._count + 1
            self._changed.notify_all()

    def close(self) -> None:
        """Say that no more come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def after(self, count: int) -> tuple[int, str] | None:
        """Wait for one that came after the first ``count``, and return how many there were, and it; None: no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._count > count or self._closed)
            return None if self._item is None or self._count <= count else (self._count, self._item)


class Page:
    """Serves the page in threads of its own, until it is closed.

    Args:
        name: of the source.
        told: what is known of the networks, a line.

    Attributes:
        latest: what it shows.
        address: where it is.
        port: its port, a free one.
    """

    def __init__(self, name: str, told: str) -> None:
        self.latest = Latest()
        script = re.search(r"<script>(.*?)</script>", _TEMPLATE.read_text(encoding="utf-8"), re.DOTALL)
        assert script is not None
        text = filled(_TEMPLATE, title=escape(name), told=escape(told), hash=script_hash(script[1]))
        place = f"/{secrets.token_urlsafe(16)}/"
        handler = type("_PageHandler", (_Handler,), {"latest": self.latest, "text": text.encode(), "place": place})
        self._server = ThreadingHTTPServer((HOST, 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.address = f"http://{HOST}:{self.port}{place}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell the browsers that it has ended, and listen no more."""
        self.latest.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    latest: Latest
    text: bytes
    place: str
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE_S

    def do_GET(self) -> None:
        """Answer the page, or what it shows next."""
        if problem := self._refused():
            return self._answer(HTTPStatus.FORBIDDEN, "text/plain; charset=utf-8", problem.encode())
        if self.path == self.place:
            return self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.text)
        if asked := re.fullmatch(rf"{self.place}next\?after=(\d{{1,15}})", self.path):
            return self._next(int(asked[1]))
        return self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"nothing here")

    def _refused(self) -> str:
        """Say why a request is not answered: it would be another site's."""
        port = cast("ThreadingHTTPServer", self.server).server_port
        ours = {f"{name}:{port}" for name in (HOST, "localhost")}
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in ours:
            return "this page answers to 127.0.0.1 alone"
        origin = self.headers.get("Origin")
        if origin is not None and origin.lower() not in {f"http://{one}" for one in ours}:
            return "this page answers to its own requests alone"
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return "this page answers to its own requests alone"
        return ""

    def _answer(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _next(self, count: int) -> None:
        """Wait for what comes after the first ``count``, and answer it: the page asks again when it has drawn that."""
        found = self.latest.after(count)
        text = '{"ended":true}' if found is None else f'{{"count":{found[0]},"said":{found[1]}}}'
        self._answer(HTTPStatus.OK, "application/json", text.encode())

    def handle(self) -> None:
        """Answer; a browser that has gone away is no error."""
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request on the terminal."""

    def version_string(self) -> str:
        """Say no versions."""
        return "live"


_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer: nothing of it is kept, or read by a page of another site."""
