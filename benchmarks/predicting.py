"""Speed and memory of predict.py on a video: each step, the whole, batches against face by face, and its length.

    python -m benchmarks.predicting VIDEO --checkpoint RUN [--rounds 3] [--minutes 30] [--cpu] [--json FILE]

Frames/s of each step on its own, medians over the rounds, in turns. For memory and time by length, a process of its own
repeats the video until it is as long; what it holds, and how long a minute took, is noted after each minute of both
passes, because the peak of a short run, when torch starts, would hide growth.
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
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from benchmarks.machine import benchmark_parser, machine, print_machine, take_turns, write_figures
from evaluators.lanes import THUMBNAILS
from evaluators.table import write_table
from evaluators.text import write_csv
from runs import predictor
from runs.detectors import make_detector
from runs.drawing import PAGE, draw_timeline
from runs.predictor import Predictor
from videos.decoding import Picture, decode, inspect
from videos.detector import search
from videos.people import People
from videos.settings import CropSettings
from videos.sources import Source
from videos.watching import cut_out, watch


def steps(video: Path, checkpoint: Path, folder: Path) -> dict[str, Callable[[int], object]]:
    """Return what is timed, by name; each goes through all frames of the video once.

    Args:
        video: of one face.
        checkpoint: the network.
        folder: for the table.
    """
    faces = CropSettings()
    model, single = (Predictor(checkpoint, device="cpu", batch_size=size) for size in (64, 1))
    detector = make_detector(faces)
    pictures = list(decode(video))
    boxes = [detector(picture.image) for picture in pictures]
    watched = watch(pictures, detector, inspect(video).fps)
    crops = list(cut_out(pictures, watched, faces, video))
    table = model.video(video)

    def follow(_: int) -> None:
        people = People()
        for number, (picture, found) in enumerate(zip(pictures, boxes, strict=True)):
            people.follow(picture.image, number / 25, found)

    def write(_: int) -> None:
        write_table(table, folder / "table.parquet")
        write_csv(table, folder / "table.csv")

    def timeline(_: int) -> None:
        (folder / PAGE).unlink(missing_ok=True)
        source = Source(video.stem, (video,), pictures=False)
        draw_timeline(table, source, folder / "table.parquet", THUMBNAILS, lambda items, *_: items)

    def without_network(_: int) -> None:
        seen = watch(decode(video), detector, inspect(video).fps)
        list(cut_out(decode(video), seen, faces, video))

    def whole(model: Predictor) -> None:
        write_table(model.video(video), folder / "table.parquet")
        write_csv(table, folder / "table.csv")
        timeline(0)

    write(0)
    return {
        "decode, twice": lambda _: [list(decode(video)) for _ in range(2)],
        "detect": lambda _: list(search(pictures, lambda picture: detector(picture.image))),
        "track": follow,
        "cut out": lambda _: list(cut_out(pictures, watched, faces, video)),
        "network, in batches": lambda _: model.crops(crops),
        "network, face by face": lambda _: single.crops(crops),
        "write": write,
        "timeline": timeline,
        "all but the network": without_network,
        "the whole": lambda _: whole(model),
        "the whole, face by face": lambda _: whole(single),
    }


def repeated(video: Path, frames: int) -> Callable[[Path], Iterator[Picture]]:
    """Return a reader of a video that goes on from its beginning until there are so many frames."""

    def pictures() -> Iterator[Picture]:
        rate = inspect(video).fps or 25
        number = count()
        while True:
            yield from (Picture(next(number) / rate, picture.image) for picture in decode(video))

    return lambda _: islice(pictures(), frames)


def resident() -> float:
    """Return what this process holds in memory now, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def measure(video: Path, checkpoint: Path, minutes: float, size: int | None) -> dict[str, Any]:
    """Predict a video of this length, and note memory (MiB) and time (s) after each minute of each pass.

    Args:
        video: what is repeated.
        checkpoint: the network.
        minutes: at least two.
        size: longer side of the pictures in which faces are searched, px; None: as usual.
    """
    faces = CropSettings() if size is None else CropSettings(detection_size=size)
    a_minute = round(60 * (inspect(video).fps or 25))
    frames = round(minutes * a_minute)
    setattr(predictor, "decode", repeated(video, frames))  # noqa: B010  # its own name of what it imports
    marks: dict[str, list[tuple[float, float]]] = {}

    def shown(items: Iterable[Any], title: str, _: int | None) -> Iterator[Any]:
        noted = marks[title] = [(time.perf_counter(), resident())]
        for number, item in enumerate(items, 1):
            yield item
            if number % a_minute == 0:
                noted.append((time.perf_counter(), resident()))

    model = Predictor(checkpoint, faces=faces, device="cpu")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        table = model.video(video, shown=shown)
        write_table(table, Path(folder) / "table.parquet")
        write_csv(table, Path(folder) / "table.csv")
    assert table.found is not None
    passes = {
        title: {
            "mib": [noted[1][1], noted[-1][1]],
            "seconds": [noted[1][0] - noted[0][0], noted[-1][0] - noted[-2][0]],
        }
        for title, noted in marks.items()
    }
    return {
        "minutes": minutes,
        "frames": frames,
        "faces": int(table.found.success.sum()),
        "passes": passes,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    """Measure, print, and write the file of figures."""
    parser = benchmark_parser(__doc__, rounds=3)
    parser.add_argument("video", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a run folder")
    parser.add_argument("--minutes", type=float, help="length, 2 or more, at which memory and time are noted")
    parser.add_argument("--detection-size", type=int, help="px, of --minutes: the search takes most of its time")
    parser.add_argument(
        "--cpu", action="store_true", help="count CPU time, of all threads, where others use the machine"
    )
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)  # the process of its own
    options = parser.parse_args()
    if options.minutes is not None and options.minutes < 2:
        parser.error("--minutes: two or more, or there is no growth to see")
    if options.only:
        print(json.dumps(measure(options.video, options.checkpoint, options.minutes, options.detection_size)))
        return
    print_machine(machine())
    figures: dict[str, Any] = {"machine": machine(), "frames_per_s": {}}
    with tempfile.TemporaryDirectory() as folder:
        ways = steps(options.video, options.checkpoint, Path(folder))
        seconds = take_turns(ways, options.rounds, time.process_time if options.cpu else time.perf_counter)
    frames = len(list(decode(options.video)))
    for name, values in seconds.items():
        figures["frames_per_s"][name] = frames / statistics.median(values)
        print(f"{name:24} {frames / statistics.median(values):8.1f} frames/s")
    if options.minutes is not None:
        command = [sys.executable, "-m", "benchmarks.predicting", *sys.argv[1:], "--only"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        long = figures["length"] = json.loads(done.splitlines()[-1])
        print(f"{long['minutes']:g} min: {long['frames']} frames, {long['faces']} faces, {long['seconds']:.0f} s")
        for title, (mib, seconds) in ((title, one.values()) for title, one in long["passes"].items()):
            print(
                f"  {title}: {mib[0]:.0f} MiB after the first minute, {mib[1]:.0f} after the last; "
                f"the first took {seconds[0]:.1f} s, the last {seconds[1]:.1f} s"
            )
        print(f"  at most, with the table: {long['peak_mib']:.0f} MiB")
    write_figures(options.json, figures)


if __name__ == "__main__":
    main()
