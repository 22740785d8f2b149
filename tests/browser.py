"""Chromium without a window, driven through its debugging pipe; and a server on 127.0.0.1 that shows it a folder."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

OPTIONS = (
    "--headless=new", "--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--autoplay-policy=no-user-gesture-required", "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


class Browser:
    """One page of a Chromium that is already running; ``requests`` are the addresses that it asked for."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = os.fdopen(write, "wb"), os.fdopen(read, "rb")
        self._number = 0
        self._rest = b""
        self.requests: list[str] = []
        self.messages: list[str] = []
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM", "Log"):
            self.call(f"{domain}.enable")
        self._watch_workers(self._session)

    def _watch_workers(self, session: str | None) -> None:
        self._send("Target.setAutoAttach", session, autoAttach=True, waitForDebuggerOnStart=True, flatten=True)

    def _send(self, method: str, session: str | None, **given: Any) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": given}
        if session:
            message["sessionId"] = session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        return self._number

    def call(self, method: str, **given: Any) -> Any:
        """The result of a method of the protocol."""
        number = self._send(method, self._session, **given)
        while True:
            told = self._next()
            if told.get("id") == number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']}")
                return told["result"]

    def _next(self) -> Any:
        while b"\0" not in self._rest:
            piece = os.read(self._read.fileno(), 1 << 20)
            if not piece:
                raise RuntimeError("Chromium has ended")
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        told = json.loads(message)
        self._notice(told.get("method"), told.get("params", {}), told.get("sessionId"))
        return told

    def _notice(self, method: str | None, given: Any, session: str | None) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = given["exceptionDetails"]
            self.messages.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded":
            self.messages.append(given["entry"]["text"])
        elif method == "Target.attachedToTarget" and session:
            for one in ("Network.enable", "Runtime.enable", "Runtime.runIfWaitingForDebugger"):
                self._send(one, given["sessionId"])

    def open(self, address: str) -> None:
        """Load a page, and wait until it is there."""
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression, which is waited for."""
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            details = told["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return told["result"].get("value")

    def until(self, condition: str, seconds: float = 60) -> None:
        """Wait until an expression holds."""
        self.run(
            f"(async () => {{ const end = Date.now() + {seconds * 1000};"
            f"while (!({condition})) {{ if (Date.now() > end) throw new Error({json.dumps(condition)});"
            "await new Promise(next => setTimeout(next, 50)); } })()"
        )

    def picture(self, path: Path, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Save a picture of the whole page, as a screen of that width shows it."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.run("new Promise(next => setTimeout(next, 300))")
        import base64

        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def chromium(profile: Path, *options: str) -> Iterator[Browser]:
    """Start Chromium; skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    (from_us, to_them), (from_them, to_us) = os.pipe(), os.pipe()
    command = f'exec "$@" 3<&{from_us} 4>&{to_us}'
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", command, "bash", CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", *options],
            pass_fds=(from_us, to_us), stdout=log, stderr=log,
        )  # fmt: skip
    os.close(from_us)
    os.close(to_us)
    try:
        yield Browser(to_them, from_them)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *given: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Show a folder as ``python -m http.server`` does; yields its address."""
    handler: Callable[..., Any] = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def file_of(address: str, name: str, kind: str) -> str:
    """JavaScript that fetches a file of the server, as a user would have chosen it."""
    return f"new File([await (await fetch({address!r})).blob()], {name!r}, {{type: {kind!r}}})"


def all_of(scripts: Sequence[str]) -> str:
    """JavaScript for a list of them."""
    return f"[{', '.join(scripts)}]"
