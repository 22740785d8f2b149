"""Speed and memory of predict.py on a video: each step, the whole, batches against face by face, and its length.

    python -m benchmarks.predicting VIDEO --checkpoint RUN [--rounds 3] [--minutes 1 30] [--cpu] [--json FILE]

Frames/s of each step on its own, medians over the rounds, in turns. The memory is the peak of a process of its own for
each length, in which the video is repeated until it is as long, less that of a process that reads one frame.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from benchmarks.machine import benchmark_parser, machine, print_machine, take_turns, write_figures
from evaluators.table import write_table
from evaluators.text import write_csv
from runs import predictor
from runs.detectors import make_detector
from runs.predictor import Predictor
from videos.decoding import Picture, decode, inspect
from videos.people import People
from videos.settings import CropSettings
from videos.watching import cut_out, watch

DETECTION = 400
"""Longer side of the pictures in which faces are searched, px: the default of predict.py."""


def steps(video: Path, checkpoint: Path, folder: Path) -> dict[str, Callable[[int], object]]:
    """Return what is timed, by name; each goes through all frames of the video once.

    Args:
        video: of one face.
        checkpoint: the network.
        folder: for the table.
    """
    faces = CropSettings(detection_size=DETECTION)
    model, single = (Predictor(checkpoint, faces=faces, device="cpu", batch_size=size) for size in (64, 1))
    detector = make_detector(faces)
    pictures = list(decode(video))
    boxes = [detector(picture.image) for picture in pictures]
    again = iter(boxes * 2)
    watched = watch(pictures, lambda image: next(again), inspect(video).fps)
    crops = list(cut_out(pictures, watched, faces, video))
    table = model.video(video)

    def follow(_: int) -> None:
        people = People()
        for number, (picture, found) in enumerate(zip(pictures, boxes, strict=True)):
            people.follow(picture.image, number / 25, found)

    def write(_: int) -> None:
        write_table(table, folder / "table.parquet")
        write_csv(table, folder / "table.csv")

    def without_network(_: int) -> None:
        seen = watch(decode(video), detector, inspect(video).fps)
        list(cut_out(decode(video), seen, faces, video))

    def whole(turn: int) -> None:
        write_table(model.video(video), folder / "table.parquet")
        write_csv(table, folder / "table.csv")

    return {
        "decode, twice": lambda _: [list(decode(video)) for _ in range(2)],
        "detect": lambda _: [detector(picture.image) for picture in pictures],
        "track": follow,
        "cut out": lambda _: list(cut_out(pictures, watched, faces, video)),
        "network, in batches": lambda _: model.crops(crops),
        "network, face by face": lambda _: single.crops(crops),
        "write": write,
        "all but the network": without_network,
        "the whole": whole,
        "the whole, face by face": lambda _: single.video(video),
    }


def repeated(video: Path, frames: int) -> Callable[[Path], Iterator[Picture]]:
    """Return a reader of a video that goes on from its beginning until there are so many frames."""

    def pictures() -> Iterator[Picture]:
        rate = inspect(video).fps or 25
        number = count()
        while True:
            yield from (Picture(next(number) / rate, picture.image) for picture in decode(video))

    return lambda _: islice(pictures(), frames)


def measure(video: Path, checkpoint: Path, minutes: float) -> dict[str, float]:
    """Return peak memory (MiB) and seconds of a video of this length; of one frame for 0."""
    frames = max(round(minutes * 60 * (inspect(video).fps or 25)), 1)
    setattr(predictor, "decode", repeated(video, frames))  # noqa: B010  # its own name of what it imports
    # the search takes most of the time and keeps nothing: a small picture does
    model = Predictor(checkpoint, faces=CropSettings(detection_size=96), device="cpu")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        table = model.video(video)
        write_table(table, Path(folder) / "table.parquet")
        write_csv(table, Path(folder) / "table.csv")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"minutes": minutes, "frames": frames, "peak_mib": peak, "seconds": time.perf_counter() - start}


def main() -> None:
    """Measure, print, and write the file of figures."""
    parser = benchmark_parser(__doc__, rounds=3)
    parser.add_argument("video", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a run folder")
    parser.add_argument("--minutes", type=float, nargs="*", default=[1, 30], help="lengths whose memory is measured")
    parser.add_argument(
        "--cpu", action="store_true", help="count CPU time, of all threads, where others use the machine"
    )
    parser.add_argument("--only", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only is not None:
        print(json.dumps(measure(options.video, options.checkpoint, options.only)))
        return
    print_machine(machine())
    figures: dict[str, Any] = {"machine": machine(), "frames_per_s": {}, "memory": []}
    with tempfile.TemporaryDirectory() as folder:
        ways = steps(options.video, options.checkpoint, Path(folder))
        seconds = take_turns(ways, options.rounds, time.process_time if options.cpu else time.perf_counter)
    frames = len(list(decode(options.video)))
    for name, values in seconds.items():
        figures["frames_per_s"][name] = frames / statistics.median(values)
        print(f"{name:24} {frames / statistics.median(values):8.1f} frames/s")
    for minutes in [0, *options.minutes] if options.minutes else []:
        command = [sys.executable, "-m", "benchmarks.predicting", str(options.video), "--only", str(minutes)]
        command += ["--checkpoint", str(options.checkpoint)]
        done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        figures["memory"].append(json.loads(done.splitlines()[-1]))
        one = figures["memory"][-1]
        print(f"{minutes:g} min: {one['frames']} frames, {one['peak_mib']:.0f} MiB, {one['seconds']:.0f} s", flush=True)
    write_figures(options.json, figures)


if __name__ == "__main__":
    main()
