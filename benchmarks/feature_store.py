"""Writing and reading of the feature store, and its memory, beside one pickled dictionary of all frames.

    python -m benchmarks.feature_store [--frames 20000 100000] [--rounds 3] [--json FILE]

1280 features and 10 scores per frame, in batches of 96, videos of 2,500 frames. Reading is what heads do: one epoch of
shuffled batches of 1024. Ours keeps half precision, as extract.py does, the plain way float32, as published. Each
measurement is a process of its own, the two take turns; memory is the peak of the process less that of an idle one.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import benchmark_parser, write_figures
from benchmarks.reference import feature_store as plain
from evaluators.report import aligned
from features.datamodule import FeatureBatches
from features.store import FeatureStore, Places, open_store
from features.store_files import FeatureWriter, StoreInfo

EMBEDDING, SCORES, BATCH, VIDEO = 1280, 10, 96, 2500
INFO: Final = StoreInfo("benchmark", "0" * 64, EMBEDDING, tuple(f"s{n}" for n in range(SCORES)), "cropped", 224)


def batches(frames: int) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]]:
    """Yield the video, numbers, embeddings and scores of each batch, as a network would give them."""
    random = np.random.default_rng(0)
    pool = random.standard_normal((2048, EMBEDDING), dtype=np.float32)
    scores = random.standard_normal((2048, SCORES), dtype=np.float32)
    for start in range(0, frames, VIDEO):
        for first in range(start, min(start + VIDEO, frames), BATCH):
            numbers = np.arange(first, min(first + BATCH, start + VIDEO, frames))
            rows = numbers % len(pool)
            yield f"video{start // VIDEO:04d}", numbers - start + 1, pool[rows], scores[rows]


def write_store(root: Path, frames: int) -> None:
    """Write as ``features.extraction`` does."""
    open_store(root, INFO)
    for video, of_video in groupby(batches(frames), key=itemgetter(0)):
        writer = FeatureWriter(root, video, INFO)
        for _, numbers, embedding, scores in of_video:
            writer.add(numbers, embedding, scores)
        writer.finish()


def read_store(root: Path, frames: int) -> None:
    """Read an epoch as ``features.datamodule`` does."""
    store = FeatureStore(root)
    places = store.find(
        [f"video{row // VIDEO:04d}" for row in range(frames)], np.arange(frames, dtype=np.int64) % VIDEO + 1
    )
    for rows in FeatureBatches(np.arange(frames), 1024):
        store.read(Places(places.part[rows], places.position[rows]))


def write_plain(path: Path, frames: int) -> None:
    """Write as published."""
    plain.write(
        path,
        (
            (f"{video}/{number:05d}.jpg", embedding[row].copy(), scores[row].copy())
            for video, numbers, embedding, scores in batches(frames)
            for row, number in enumerate(numbers)
        ),
    )


def read_plain(path: Path, frames: int) -> None:
    """Read as published."""
    assert sum(map(len, plain.read(path, 1024, 0))) == frames


def idle(path: Path, frames: int) -> None:
    """Do nothing: that is what a process needs anyway."""


def _measure(results: Any, job: Callable[[Path, int], None], path: Path, frames: int) -> None:
    started = time.perf_counter()
    job(path, frames)
    seconds = time.perf_counter() - started
    results.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measure(job: Callable[[Path, int], None], path: Path, frames: int) -> tuple[float, float]:
    """Run a job in a fresh process, and return its seconds and its peak in MiB."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=_measure, args=(results, job, path, frames))
    process.start()
    found: tuple[float, float] = results.get()
    process.join()
    return found


def main() -> None:
    """Measure and print."""
    parser = benchmark_parser(__doc__, rounds=3)
    parser.add_argument("--frames", type=int, nargs="+", default=[20_000, 100_000])
    options = parser.parse_args()
    rows = [["frames", "what", "ours, frames/s", "pickle, frames/s", "ratio", "ours, MiB", "pickle, MiB"]]
    kept: list[dict[str, Any]] = []
    for frames in options.frames:
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                root, path = Path(folder) / "store", Path(folder) / "features.pickle"
                base = measure(idle, root, 0)[1]
                for job, place in ((write_store, root), (write_plain, path), (read_store, root), (read_plain, path)):
                    seconds, peak = measure(job, place, frames)
                    found.setdefault(job.__name__, []).append((frames / seconds, peak - base))
        for what in ("write", "read"):
            speeds, peaks = (
                [statistics.median(one[column] for one in found[f"{what}_{way}"]) for way in ("store", "plain")]
                for column in (0, 1)
            )
            rows.append([
                f"{frames:,}", what, f"{speeds[0]:,.0f}", f"{speeds[1]:,.0f}", f"{speeds[0] / speeds[1]:.2f}",
                *(f"{peak:,.0f}" for peak in peaks),
            ])  # fmt: skip
            kept.append({"frames": frames, "what": what, "frames/s": speeds, "peak MiB": peaks})
    print(aligned(rows))
    write_figures(options.json, kept)


if __name__ == "__main__":
    main()
