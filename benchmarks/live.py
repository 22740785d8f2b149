"""How long a live frame takes to its drawing: predict.py's threads and page, fed at a steady pace, and read.

    python -m benchmarks.live VIDEO --checkpoint RUN [--seconds 60] [--rate 30] [--network 5] [--json FILE]

The video is decoded once and sent over and over, as a camera would, at ``--rate`` frames a second; each turn with a
network that is slowed down to so many frames a second, the first one as it is. A reader of the page in a thread of its
own stands for the browser; it parses what comes and decodes the JPEG. Latencies are from the moment at which a frame
is sent: to its publication, and to the end of its decoding there.
"""

from __future__ import annotations

import argparse
import base64
import json
import tempfile
import threading
import time
import urllib.request
from array import array
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.machine import machine, print_machine, write_figures
from evaluators.recording import Recording
from evaluators.table import Table
from runs.following import Following
from runs.live import Course, Look, Work, run
from runs.live_page import Page
from runs.predictor import Predictor
from videos.decoding import Image, Picture, decode
from videos.live import paced


class Slow:
    """Looks at a frame for so long at least.

    Args:
        following: what looks.
        seconds: for how long.
    """

    def __init__(self, following: Look, seconds: float) -> None:
        self._following, self._seconds = following, seconds

    def look(self, number: int, at: float, image: Image, /) -> Table:
        """Return what is found, when the time is over."""
        begun = time.monotonic()
        table = self._following.look(number, at, image)
        time.sleep(max(self._seconds - (time.monotonic() - begun), 0))
        return table


def measure(
    predictor: Predictor, pictures: list[Picture], folder: Path, *, seconds: float, rate: float, network: float | None
) -> dict[str, Any]:
    """Send pictures for some seconds, and return the counts and latencies, ms.

    Args:
        predictor: the network.
        pictures: what is sent, over and over.
        folder: for the growing table.
        seconds: for how long.
        rate: frames a second.
        network: frames a second that the network does at most; None: as many as it can.
    """
    given = Following(predictor, "live")
    given.warm()
    following: Look = given if network is None else Slow(given, 1 / network)
    recording, course = Recording(folder / f"{network or 'own'}.csv"), Course()
    page = Page("live", "a benchmark")
    sent, seen = dict[int, float](), array("d")

    def send() -> Iterator[Picture]:
        frames = (Picture(number / rate, pictures[number % len(pictures)].image) for number in count())
        for number, frame in enumerate(paced(frames), 1):
            if number > seconds * rate:
                return
            sent[number] = time.monotonic()
            yield frame

    def read() -> None:
        known = 0
        while True:
            with urllib.request.urlopen(f"{page.address}next?after={known}", timeout=60) as answer:
                found = json.loads(answer.read())
            if "ended" in found:
                return
            known, said = found["count"], found["said"]
            cv2.imdecode(np.frombuffer(base64.b64decode(said["picture"]), np.uint8), cv2.IMREAD_COLOR)
            seen.append(time.monotonic() - sent[said["frame"]])

    used = time.process_time()
    reader = threading.Thread(target=read)
    reader.start()
    run(send(), Work(following, recording, course, page), course)
    page.latest.close()
    reader.join()
    page.close()
    recording.close()
    assert course.waiting.shown + course.waiting.dropped == course.waiting.sent
    at = {f"page_p{one}_ms": round(1000 * float(np.percentile(seen, one)), 1) for one in (50, 95)}
    # of all threads: what a frame costs, however busy the machine is
    at["cpu_ms_a_frame"] = round(1000 * (time.process_time() - used) / max(course.waiting.shown, 1), 1)
    return {"network": network, **course.facts(), **at, "read": len(seen)}


def main() -> None:
    """Measure, print, and write the file of figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a run folder")
    parser.add_argument("--seconds", type=float, default=60, help="of each turn")
    parser.add_argument("--rate", type=float, default=30, help="frames a second that are sent")
    parser.add_argument("--network", type=float, nargs="*", default=[5.0], help="frames a second of slowed networks")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    facts = machine()
    print_machine(facts)
    predictor, pictures, turns = Predictor(options.checkpoint, device="cpu"), list(decode(options.video)), []
    with tempfile.TemporaryDirectory() as folder:
        for network in (None, *options.network):
            turn = measure(predictor, pictures, Path(folder), seconds=options.seconds, rate=options.rate,
                           network=network)  # fmt: skip
            turns.append({**turn, "load": machine()["load"]})
            print(json.dumps(turns[-1]), flush=True)
    write_figures(options.json, {"machine": facts, "turns": turns})


if __name__ == "__main__":
    main()
