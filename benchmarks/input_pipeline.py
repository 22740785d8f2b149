"""Images per second and core from JPEG bytes to the normalised float32 batch, ours against reference/input_pipeline.py.

    python -m benchmarks.input_pipeline [--images FOLDER] [--json FILE]

All CPU time is counted, on one thread: decoding, augmentation, collating, and the normalisation, which training does on
the device. ``visible`` is CoTEX's augmentation.input=visible: the normalised patches that its two views keep. All take
turns, and the medians over the rounds are reported.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from affect.batch import Batch
from affect.frames import unlabelled
from backbones.masks import kept_patches
from backbones.normalize import Normalize
from backbones.visible import visible_patches
from benchmarks.machine import benchmark_parser, machine, print_machine, take_turns, write_figures
from benchmarks.reference import input_pipeline as reference
from datamodules.loading import FaceDataset, Sample
from datamodules.pictures import decode_image
from datamodules.transforms import JitterAndCrop, Transform

PATCH_SIZE: Final = 16
Load = Callable[[Sequence[bytes], int], Tensor]


def ours(image_size: int, count: int) -> Load:
    """Return our pipeline: uint8 batches as the data module makes them, then the networks' own normalisation."""
    return _pipeline(JitterAndCrop(image_size=image_size), count, lambda batch, epoch: batch["image"])


def visible(image_size: int, count: int, ratio: float) -> Load:
    """Return the pipeline of kept patches, those of two views one after the other."""
    patches = (image_size // PATCH_SIZE) ** 2

    def kept(batch: Batch, epoch: int) -> Tensor:
        keep = [
            kept_patches(batch["row"], patches=patches, ratio=ratio, seed=0, epoch=epoch, view=view, repeat=0)
            for view in range(2)
        ]
        return visible_patches(
            batch["image"],
            batch["augmentation"],
            torch.cat(keep, dim=1),
            image_size=image_size,
            patch_size=PATCH_SIZE,
            interpolation="bilinear",
        )

    return _pipeline(JitterAndCrop(image_size=image_size, resize_ratio=1.02, input="visible"), count, kept)


def _pipeline(transform: Transform, count: int, pixels: Callable[[Batch, int], Tensor]) -> Load:
    """Return a pipeline of up to ``count`` images a batch that normalises what ``pixels`` takes of a batch."""
    normalize = Normalize()
    frames = unlabelled([f"v/{i}.jpg" for i in range(count)], ["v"] * count, np.arange(count), {})
    dataset = FaceDataset(frames, [None] * count, transform)

    def load(files: Sequence[bytes], epoch: int) -> Tensor:
        samples = [
            Sample(row, transform(decode_image(data), epoch=epoch, row=row), transform.left_to_do(epoch=epoch, row=row))
            for row, data in enumerate(files)
        ]
        result: Tensor = normalize(pixels(dataset.collate(samples), epoch))
        return result

    return load


def theirs(image_size: int) -> Load:
    """Return the reference pipeline."""
    transform = reference.train_transform(image_size)
    return lambda files, epoch: reference.load_batch(files, transform)


def faces(folder: Path | None, count: int) -> list[bytes]:
    """Return the contents of JPEG files: up to ``count`` of the folder's, spread over it, or generated ones of 112 px.

    Raises:
        FileNotFoundError: the folder holds no .jpg file.
    """
    if folder is not None:
        paths = sorted(folder.rglob("*.jpg"))
        if not paths:
            raise FileNotFoundError(f"no .jpg file below {folder}. Set --images to a folder of face crops.")
        return [path.read_bytes() for path in paths[:: max(1, len(paths) // count)][:count]]
    generator = np.random.default_rng(0)
    files = []
    for _ in range(count):  # as smooth as faces: noise would make decoding look dearer than it is
        coarse = generator.integers(40, 220, (14, 14, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (112, 112), interpolation=cv2.INTER_CUBIC)
        files.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
    return files


def measure(loads: dict[str, Load], files: Sequence[bytes], batch_size: int, rounds: int) -> dict[str, list[float]]:
    """Return images per second of CPU time of each pipeline in each of ``rounds`` interleaved rounds."""

    def load_all(load: Load, epoch: int) -> None:
        for first in range(0, len(files), batch_size):
            load(files[first : first + batch_size], epoch)

    seconds = take_turns({name: partial(load_all, load) for name, load in loads.items()}, rounds, time.process_time)
    return {name: [len(files) / one for one in of_rounds] for name, of_rounds in seconds.items()}


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    parser = benchmark_parser(__doc__, rounds=7)
    parser.add_argument("--images", type=Path, help="folder of JPEG face crops; generated ones where left out")
    parser.add_argument("--count", type=int, default=500, help="images per round")
    parser.add_argument("--size", type=int, default=224, help="side of the network's input, px")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--ratio", type=float, default=0.95, help="share of patches that visible does not make")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)

    facts = machine()
    files = faces(options.images, options.count)
    pipelines = {
        "ours": ours(options.size, options.batch),
        "visible": visible(options.size, options.batch, options.ratio),
        "reference": theirs(options.size),
    }
    rates = measure(pipelines, files, options.batch, options.rounds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print_machine(facts)
    print(f"{len(files)} JPEG files → {options.size} px, {options.rounds} rounds, one thread")
    print(f"{'pipeline':<12}{'images/s/core':>14}{'lowest':>9}{'highest':>9}")
    for name, values in rates.items():
        print(f"{name:<12}{medians[name]:>14.0f}{min(values):>9.0f}{max(values):>9.0f}")
    ratios = {name: medians[name] / medians["reference"] for name in ("ours", "visible")}
    for name, ratio in ratios.items():
        print(f"ratio {name} {ratio:.2f}")
    figures = {"images_per_second_per_core": medians, "ratios": ratios, "rounds": rates, "size": options.size}
    write_figures(options.json, {**figures, "machine": facts})


if __name__ == "__main__":
    main()
