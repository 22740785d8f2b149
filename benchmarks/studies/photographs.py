"""Eight expressions on real photographs: our best network beside two baselines, chosen without the validation split.

    python -m benchmarks.studies.photographs logs/photographs [--root ../shared/real_faces_small] [--seeds 0 1 2]
        [--unlabelled ARCHIVE]

1. Candidates (``CANDIDATES``) are trained on two thirds of the training split and scored on the last third, three
   times; thirds are whole videos. The best mean of accuracy and macro F1 is chosen. With ``--unlabelled``, pictures of
   faces without labels (a tar file or a folder), one of them learns from these, too (``selftraining``).
2. The chosen one is trained on the whole training split, once for each seed. The result is the last epoch's, so that
   the validation split decides nothing.
3. Baselines: a linear classifier on histograms of oriented gradients, and a logistic regression on frozen ImageNet
   features of EfficientNet-Lite0, whose regularisation is chosen on the same thirds.
4. All are scored on the validation split, per source of the photographs too, and compared image by image
   (``evaluators.intervals``). ``<folder>/results.json`` keeps everything.

Needs the extras ``dev`` and ``pretrained``. Runs that are finished are not repeated.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from skimage.feature import hog
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affect.frames import Frames
from affect.labels import EXPRESSIONS
from baseline.network import Baseline
from benchmarks.studies.running import study_parser, unpacked
from benchmarks.studies.selftraining import listed, self_trained
from datamodules.pictures import read_image
from datamodules.readers.mtl import read_mtl
from datamodules.transforms import EvalTransform
from evaluators.intervals import estimate
from evaluators.report import aligned, read_scores
from evaluators.sums import Sums, sums
from evaluators.table import Table, read_table
from runs.ending import clear_errors
from runs.stages import run

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

FOLDS: Final = 3
SCORES: Final = ("ACC_EXPR", "P_EXPR")
ALL: Final = range(len(EXPRESSIONS))
STRENGTHS: Final = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""C of the linear baselines, on standardised features."""

RENDERED: Final = (
    "experiment=baseline", "backbone=efficientnet_lite0", "data=synthetic", "scale=paper", "trainer.precision=32-true",
    "model.network.image_size=112", "trainer.max_epochs=2", "trainer.accumulate_grad_batches=1", "data.batch_size=64",
    "model.optimiser.base_lr=4.0e-3", "model.optimiser.warmup_epochs=0.2",
    "model.loss.au_pos_weight=train", "model.loss.expression_weight=train",
)  # fmt: skip
"""The run that a candidate may start from: all three tasks on rendered faces."""

CANDIDATES: Final[dict[str, tuple[str, ...]]] = {
    "self-trained": ("model.network.weights={rendered}/weights/backbone.pth",),
    "rendered-first": ("model.network.weights={rendered}/weights/backbone.pth",),
    "imagenet": (),
}
"""What is chosen among, as overrides of experiment=photographs; the first one goes on with ``self_trained``."""


class Split(NamedTuple):
    """Photographs with their expressions: images (N paths), labels (N,), group (N videos)."""

    frames: Frames
    images: list[Path]

    @property
    def labels(self) -> Labels:
        """(N,) class indices."""
        return self.frames.expression


def read(root: Path, name: str) -> Split:
    """Return one split of the photographs."""
    frames = read_mtl(root / f"{name}_set_annotations.txt")
    return Split(frames, [root / "cropped_aligned" / image for image in frames.image])


def thirds(split: Split) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Split the rows into those to learn from and those to score, ``FOLDS`` times; a video is never on both sides."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    return list(folds.split(split.labels, split.labels, split.frames.video))


def write_thirds(root: Path, split: Split, folder: Path) -> list[list[str]]:
    """Write annotation files of the thirds; return the overrides that select each."""
    header, *rows = (root / "training_set_annotations.txt").read_text().splitlines()
    folder.mkdir(parents=True, exist_ok=True)
    overrides = []
    for number, parts in enumerate(thirds(split)):
        given = []
        for name, part in zip(("train", "val"), parts, strict=True):
            path = folder / f"third{number}_{name}.txt"
            path.write_text("\n".join([header, *(rows[row] for row in part)]) + "\n")
            given.append(f"data.{name}_annotations={path}")
        overrides.append(given)
    return overrides


def answers(predicted: Labels, split: Split) -> Sums:
    """Return accuracy and macro F1 over the eight classes, and what each image adds to them.

    Args:
        predicted: (N,) classes.
        split: N photographs.
    """
    frames = split.frames
    said = np.eye(len(EXPRESSIONS), dtype=np.float32)[predicted]
    table = Table(frames.video, frames.frame, frames.image, {"expression": said}, EXPRESSIONS, {}, "predicted classes")
    return sums(table, frames, by=frames.image).only(SCORES)


def gradients(images: Sequence[Path]) -> Array:
    """Return (N, F) histograms of oriented gradients of the grey images."""
    grey = (cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY) for path in track(images, "HOG", transient=True))
    return np.array([hog(cv2.resize(one, (112, 112)), 9, (14, 14), (2, 2)) for one in grey])


def frozen_features(images: Sequence[Path]) -> Array:
    """Return (N, 1280) pooled ImageNet features at 224 px."""
    network = Baseline("tf_efficientnet_lite0", image_size=224, weights="efficientnet-lite0-imagenet").eval()
    transform = EvalTransform(image_size=224, interpolation=network.preprocessing.interpolation)
    features = []
    with torch.no_grad():
        for start in track(range(0, len(images), 32), "EfficientNet-Lite0", transient=True):
            faces = [transform(read_image(path), epoch=0, row=0) for path in images[start : start + 32]]
            features.append(network.features(torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2)).numpy())
    return np.concatenate(features).astype(np.float64)


def linear(features: Array, split: Split, wanted: Array) -> tuple[Labels, float]:
    """Predict with a logistic regression whose strength is chosen on the thirds.

    Args:
        features: (N, F) of the training split.
        split: the training split.
        wanted: (M, F) of what is predicted.

    Returns:
        (M,) classes, and the chosen C.
    """

    def fitted(strength: float, rows: NDArray[np.intp]) -> Any:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        return model.fit(features[rows], split.labels[rows])

    def quality_of(strength: float) -> float:
        """Return the mean of accuracy and macro F1 over the thirds."""
        found = []
        for learn, score in thirds(split):
            true, said = split.labels[score], fitted(strength, learn).predict(features[score])
            found += [accuracy_score(true, said), f1_score(true, said, average="macro", labels=ALL, zero_division=0)]
        return float(np.mean(found))

    quality = {strength: quality_of(strength) for strength in track(STRENGTHS, "choosing C", transient=True)}
    best = max(quality, key=quality.__getitem__)
    return fitted(best, np.arange(len(features))).predict(wanted), best


def choose(folder: Path, root: Path, train: Split, faces: Path | None) -> tuple[str, dict[str, list[list[float]]]]:
    """Cross-validate the candidates; return the best one's name and each one's scores on each third."""
    selections = write_thirds(root, train, folder / "thirds")
    found: dict[str, list[list[float]]] = {}
    for name in CANDIDATES:
        if name == "self-trained" and faces is None:
            continue
        found[name] = []
        for number, selected in enumerate(selections):
            labelled = Path(selected[0].partition("=")[2])
            place = folder / "thirds" / f"{name}-{number}"
            given = [*command(name, folder), *selected[1:]]
            result = read_scores(made(name, place, given, root, labelled, faces) / "scores.json")
            found[name].append([result[score] or 0.0 for score in SCORES])
    return max(found, key=lambda name: float(np.mean(found[name]))), found


def command(candidate: str, folder: Path) -> list[str]:
    """Return what makes a candidate's runs, but for their data; make the run on rendered faces where they need it."""
    overrides = CANDIDATES[candidate]
    if any("{rendered}" in override for override in overrides):
        run(folder / "rendered", "train", [*RENDERED, "trainer=cpu"])
    common = ["experiment=photographs", "trainer=cpu", "trainer.precision=32-true"]
    return [*common, *(override.replace("{rendered}", str(folder / "rendered")) for override in overrides)]


def made(candidate: str, place: Path, given: Sequence[str], root: Path, labelled: Path, faces: Path | None) -> Path:
    """Train a candidate on an annotation file; return the folder of its last run.

    Args:
        candidate: a key of ``CANDIDATES``.
        place: of its run or runs.
        given: its overrides.
        root: of the photographs.
        labelled: the annotation file.
        faces: pictures without labels, as ``listed`` has copied them.
    """
    if candidate == "self-trained" and faces is not None:
        return self_trained(place, given, labelled, root, faces)
    return run(place, "train", [*given, f"data.root={root}", f"data.train_annotations={labelled}"])


def per_source(root: Path, split: Split, systems: dict[str, list[Sums]]) -> list[list[str]]:
    """Return header and a row for each source: images, accuracy and macro F1 of each system."""
    with (root / "sources.csv").open() as file:
        source_of = {row["image"]: row["source"] for row in csv.DictReader(file)}
    rows = [["source", "images", *systems]]
    for source in sorted({source_of[image] for image in split.frames.image}):
        means = []
        for runs in systems.values():
            part = np.array([source_of[image] == source for image in runs[0].units])
            means.append(np.mean([one.select(part).scores()[0] for one in runs], axis=0))
        rows.append([source, str(part.sum()), *(f"{accuracy:.3f} / {f1:.3f}" for accuracy, f1 in means)])
    return rows


def main() -> None:
    """Choose, train, compare, and print the tables."""
    parser = study_parser(__doc__, seeds=(0, 1, 2))
    parser.add_argument("--root", type=Path, default=Path("../shared/real_faces_small"))
    parser.add_argument("--unlabelled", type=Path, help="pictures of faces without labels: tar file or folder")
    options = parser.parse_args()
    folder, root = options.folder.absolute(), options.root.absolute()
    train, val = read(root, "training"), read(root, "validation")
    faces = options.unlabelled
    if faces is not None:
        faces = listed(unpacked(faces.absolute(), folder / "unpacked"), folder / "unlabelled")
    best, candidates = choose(folder, root, train, faces)
    rows = [["candidate", *(f"third {n + 1}" for n in range(FOLDS)), "mean"]]
    for name, values in candidates.items():
        shown = [*values, np.mean(values, axis=0)]
        rows.append([name, *(f"{accuracy:.3f} / {f1:.3f}" for accuracy, f1 in shown)])
    print(aligned(rows), end="\n\n")
    print(f"chosen: {best}\n")

    systems: dict[str, list[Sums]] = {"ours": []}
    for seed in options.seeds:
        given = [*command(best, folder), f"seed={seed}"]
        place = made(best, folder / f"seed{seed}", given, root, root / "training_set_annotations.txt", faces)
        table = read_table(place / "predictions" / "val.parquet")
        systems["ours"].append(answers(table.predictions["expression"].argmax(axis=1), val))
    for name, features in (("HOG + linear", gradients), ("frozen features + linear", frozen_features)):
        predicted, strength = linear(features(train.images), train, features(val.images))
        systems[f"{name} (C={strength:g})"] = [answers(predicted, val)]

    rows, intervals = [["system", "accuracy", "macro F1", "ours - it: accuracy", "ours - it: macro F1"]], {}
    for name, runs in systems.items():
        measured = np.concatenate([one.scores() for one in runs])
        cells = [f"{mean:.3f}" for mean in measured.mean(axis=0)]
        if len(measured) > 1:
            cells = [f"{cell} ± {sd:.3f}" for cell, sd in zip(cells, measured.std(axis=0, ddof=1), strict=True)]
        if name != "ours":
            intervals[name] = estimate(systems["ours"], runs).intervals
            cells += [str(intervals[name][score]) for score in SCORES]
        rows.append([name, *cells, *[""] * (5 - 1 - len(cells))])
    print(aligned(rows), end="\n\n")
    sources = per_source(root, val, systems)
    print(aligned(sources), end="\n\n")
    results = {
        "candidates": candidates,
        "chosen": best,
        "systems": {name: [one.scores()[0].tolist() for one in runs] for name, runs in systems.items()},
        "difference, low, high": intervals,
        "accuracy / macro F1 by source": sources,
    }
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    with clear_errors():
        main()
