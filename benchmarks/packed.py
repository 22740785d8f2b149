"""Images per second of an epoch from a pack (``prepare.py pack``) and from the folder that was packed, warm and cold.

    python -m benchmarks.packed [--images FOLDER] [--count 20000] [--rounds 5] [--only bytes] [--json FILE]

Reading alone (``bytes``), and the data module's batches at 112 px in the order of the list and shuffled, all in one
process. Cold: ``posix_fadvise(DONTNEED)`` on every file first, which drops what the system keeps of contents, but not
of names and places on the disk; a network disk asks for those, too. Packed and loose take turns; medians.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.input_pipeline import faces
from benchmarks.machine import benchmark_parser, machine, print_machine, take_turns, write_figures
from datamodules.faces import FacesDataModule
from datamodules.packing import write_pack
from datamodules.packs import read_file

FOLDER = 500  # pictures in a folder


def write_folder(root: Path, images: Path | None, count: int) -> None:
    """Write ``count`` pictures in folders of 500: those of a folder, or drawn ones, again and again."""
    files = faces(images, min(count, 2000))
    for number in range(count):
        path = root / f"{number // FOLDER:04d}" / f"{number % FOLDER:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[number % len(files)])


def evict(root: Path) -> None:
    """Drop the content of every file below a folder from the system's memory."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def read_bytes(data: FacesDataModule, turn: int, shuffled: bool) -> None:
    """Read every training picture's bytes."""
    _, images = data.read_split("train")
    order = np.random.default_rng(turn).permutation(len(images)) if shuffled else np.arange(len(images))
    for row in order:
        if (path := images[row]) is not None:
            read_file(path)


def read_batches(data: FacesDataModule, turn: int, shuffled: bool) -> None:
    """Go through an epoch of batches: of training, which is shuffled, or of the same rows in their order."""
    if shuffled:
        loader = data.train_dataloader()
        loader.sampler.set_epoch(turn)  # type: ignore[attr-defined]
    else:
        rows = np.arange(len(data.frames("train")))
        loader = data.loader_of("train", np.array_split(rows, max(1, len(rows) // data.batch_size)))
    for _ in loader:
        pass


def measure(
    roots: dict[str, Path], rounds: int, count: int, only: str | None = None
) -> dict[str, dict[str, list[float]]]:
    """Return images per second of each way to read, in each round, from each of the roots.

    Args:
        roots: the same pictures, loose and packed.
        rounds: how often each is read.
        count: how many pictures there are.
        only: ``bytes`` or ``batches``; None: both.
    """
    options: dict[str, Any] = {"image_size": 112, "batch_size": 64, "val_share": 1e-9, "drop_last": False}
    modules = {name: FacesDataModule(str(root), **options) for name, root in roots.items()}
    for data in modules.values():
        data.evaluate_only()
        data.frames("train")
    rates = {}
    what: dict[str, Callable[[FacesDataModule, int, bool], None]] = {"bytes": read_bytes, "batches": read_batches}
    for name, read in what.items():
        if only not in (None, name):
            continue
        for shuffled in (False, True):
            for cold in (False, True):
                ways = {one: partial(_read, read, modules[one], shuffled) for one in roots}
                key = f"{name}, {'shuffled' if shuffled else 'in order'}, {'cold' if cold else 'warm'}"
                before = {one: partial(evict, root) for one, root in roots.items()} if cold else {}
                seconds = take_turns(ways, rounds, before=before)
                rates[key] = {one: [count / second for second in seconds[one]] for one in roots}
    return rates


def _read(read: Callable[[FacesDataModule, int, bool], None], data: FacesDataModule, shuffled: bool, turn: int) -> None:
    read(data, turn, shuffled)


def main() -> None:
    """Write the pictures and their pack into a temporary folder, measure, and print a table."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--images", type=Path, help="folder of JPEG face crops; generated ones where left out")
    parser.add_argument("--count", type=int, default=20_000, help="pictures")
    parser.add_argument("--folder", type=Path, help="where to write them: on the disk that is measured")
    parser.add_argument("--only", choices=("bytes", "batches"), help="measure one of the two")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    facts = machine()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        roots = {"loose": Path(folder) / "loose", "packed": Path(folder) / "packed"}
        write_folder(roots["loose"], options.images, options.count)
        write_pack(roots["loose"], roots["packed"])
        os.sync()
        rates = measure(roots, options.rounds, options.count, options.only)
    print_machine(facts)
    print(f"{options.count} pictures, {options.rounds} rounds, images/s\n{'':<28}{'loose':>9}{'packed':>9}{'ratio':>7}")
    for key, of_key in rates.items():
        loose, packed = (statistics.median(of_key[name]) for name in roots)
        print(f"{key:<28}{loose:>9.0f}{packed:>9.0f}{packed / loose:>7.2f}")
    write_figures(options.json, {"rates": rates, "count": options.count, "machine": facts})


if __name__ == "__main__":
    main()
