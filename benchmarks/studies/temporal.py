"""What temporal heads are worth beside smoothing: drawn videos, a fifth of whose frames are hidden.

    python -m benchmarks.studies.temporal FOLDER [key=value …] [--seeds 0 1 2] [--people 60] [--network RUN]

An EmotionNet learns from drawn people of its own, once (``FOLDER/network``), and stays as it is; ``--network`` takes
that of a finished run on ``draws=mtl``, whose people are none of these videos'. For each seed people are drawn anew, in
videos as ``SIZES`` and ``LASTING`` say, and the network's features of each frame are kept. In the store ``hidden`` a
fifth of the frames is left out, in stretches (``STRETCH``); the store ``whole`` lacks none.

On each store learn a head that sees one frame (``frame``), and the temporal heads of ``TEMPORAL`` at ``scale=tiny``: at
the published sizes, a seed would take hours on two cores. All weigh labels alike, and the epoch that is best on the
validation videos is kept. What frames say is filled linearly where they are hidden, and smoothed with a box; what the
temporal heads say is smoothed in the same way. Half-widths are searched on the validation videos for each task. The
test videos are predicted once, by what was chosen.

Prints P_VA, P_EXPR and P_AU on all frames of the test videos, hidden ones included, and how far each is ahead of the
smoothed head of single frames, with an interval over people, nested in seeds. ``FOLDER/results.json`` keeps all. The
command can be given again after an interruption, and with other seeds at the same time in another terminal. A
``key=value`` goes to every head's training.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from affect.cores import usable_cores
from affect.files import put_in_place, write_whole
from affect.frames import Frames
from affect.labels import MTL_HEADER
from benchmarks.studies.running import labels_of, spread, study_parser
from evaluators.intervals import Interval, nested
from evaluators.postprocess.chain import process
from evaluators.postprocess.options import PostProcess
from evaluators.report import aligned
from evaluators.sums import Sums, sums
from evaluators.table import Table, read_table
from features.store import FeatureStore, open_store
from features.store_files import FeatureWriter
from rendering import video
from rendering.affect import annotate
from rendering.writing import is_complete, map_tasks, write_frame, writing
from runs.ending import clear_errors
from runs.stages import run

SIZES: Final[Mapping[str, int]] = {"train": 60, "validation": 20, "test": 60}
"""Videos, each of another person."""
RATE: Final = 15
"""Frames a second."""
LENGTH: Final = (80, 160)
"""Frames of a video, from and to."""
LASTING: Final = (1 * RATE, 5 * RATE)
"""Frames that an expression lasts, from and to; then comes another one."""
SHARE: Final = 0.2
"""Of the frames, hidden."""
STRETCH: Final = (10, 60)
"""Frames that are hidden together, from and to."""

LISTS: Final[Mapping[str, str]] = {
    "train": "learning/training_set_annotations.txt",
    "validation": "learning/validation_set_annotations.txt",
    "test": "test/validation_set_annotations.txt",
}
"""Label files: the test videos are the validation list of a root of their own, as a list for testing has no labels."""

OUTPUT: Final = ("trainer=cpu", "scores=main", "report.faces=false")
NETWORK: Final = (
    "experiment=emotionnet", "data=synthetic", "scale=tiny", "callbacks=final", "seed=1000", "render.seed=1000",
)  # fmt: skip
"""How the network learns that makes the features."""
FRAME: Final = (
    "experiment=heads_mtl", "data.batch_size=128",
    *(f"model.network.heads.{task}.{key}" for task in ("valence_arousal", "expression", "action_units")
      for key in ("input=embedding", "hidden=128")),
)  # fmt: skip
_WEIGHTS: Final = ("+model.loss.expression_weight=train", "+model.loss.au_pos_weight=train")
TEMPORAL: Final[Mapping[str, tuple[str, ...]]] = {
    "transformer": ("transformer", *_WEIGHTS),
    "transformer-slow": (
        "transformer", *_WEIGHTS, "data.random_starts=true", "model.network.dropout=0.3",
        "model.optimiser.base_lr=3e-4",
    ),
    "bigru": ("bigru",),
    "gru": ("gru",),
}  # fmt: skip
"""By name, ``head=`` and further keys: winners of ABAW10 and ABAW11, which see a whole window or video; the first with
a lower rate, more dropout and windows that move, as was tried on seed 100, where heads learnt 60 people by heart; and
half of the second, which never looks ahead. In all losses rare labels count as much as in that of ``FRAME``."""
EPOCHS: Final = 40
"""Of every head, at most."""

CHAIN: Final[Mapping[str, Any]] = {"missing": "linear", "smoothing": "box"}
SCORES: Final = ("P_VA", "P_EXPR", "P_AU")
STORES: Final[Mapping[str, str]] = {"hidden": f"{SHARE:.0%} hidden", "whole": "nothing hidden"}
REFERENCE: Final = "frame, smoothed"

Floats = NDArray[np.float64]


class Found(NamedTuple):
    """What one system says of the test videos of a seed: its sums, and the half-widths by task."""

    sums: Sums
    k: Mapping[str, int]


def draw(root: Path, seed: int, sizes: Mapping[str, int]) -> Path:
    """Draw the videos of a seed, unless that was done before; the layout is that of s-Aff-Wild2.

    Args:
        root: gets ``cropped_aligned``, and label files in ``LISTS``, in which every frame has all labels.
        seed: of everything that is drawn.
        sizes: videos by split.
    """
    made: dict[str, Any] = {"layout": "lasting", "seed": seed, "length": [*LENGTH], "lasting": [*LASTING], **sizes}
    if not is_complete(root, made):
        splits = [split for split, count in sizes.items() for _ in range(count)]
        with writing(root, made) as folder:
            lines: dict[str, list[str]] = {split: [MTL_HEADER] for split in sizes}
            drawn = map_tasks(partial(_draw, folder, seed), [*enumerate(splits)], usable_cores(), f"drawing {root}")
            for split, of_video in zip(splits, drawn, strict=True):
                lines[split] += of_video
            for split, rows in lines.items():
                (folder / LISTS[split]).parent.mkdir(exist_ok=True)
                (folder / LISTS[split]).write_text("\n".join(rows) + "\n")
    return root


def _draw(root: Path, seed: int, task: tuple[int, str]) -> list[str]:
    """Draw one video; return its lines of the label file."""
    (index, split), stream = task, video.UNI_TRAIN
    length = int(video.generator(seed, stream, index, video.LISTING).integers(*LENGTH, endpoint=True))
    drawn = video.draw_video(seed, stream, index, length, lasting=LASTING)
    name = f"{split}-{index:04d}"
    (root / "cropped_aligned" / name).mkdir(parents=True)
    annotators = video.generator(seed, stream, index, video.ANNOTATORS)
    labels = annotate(annotators, drawn.units.max(axis=1), drawn.expression, drawn.frames)
    lines = []
    for t, (affect, expression, units) in enumerate(zip(*labels, strict=True)):
        image = f"{name}/{drawn.frames[t]:05d}.jpg"
        write_frame(drawn, t, root / "cropped_aligned" / image)
        numbers = [f"{affect[0]:.4f}", f"{affect[1]:.4f}", str(expression), *map(str, units)]
        lines.append(",".join([image, *numbers]))
    return lines


def hidden(lengths: Sequence[int], rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Choose the hidden frames of videos: ``SHARE`` of all, in stretches of ``STRETCH``, at most half of a video.

    Args:
        lengths: of the videos, in frames.
        rng: of the draws.

    Returns:
        For each video, true where a frame is hidden. Between two stretches there is always a frame that is not.
    """
    masks = [np.zeros(length, dtype=bool) for length in lengths]
    share, total = np.array(lengths) / sum(lengths), sum(lengths)
    while sum(mask.sum() for mask in masks) < SHARE * total:
        mask = masks[int(rng.choice(len(masks), p=share))]
        size = int(rng.integers(*STRETCH, endpoint=True))
        if 2 * size > len(mask):
            continue
        start = int(rng.integers(0, len(mask) - size, endpoint=True))
        around = mask[max(start - 1, 0) : start + size + 1]
        if not around.any() and 2 * (mask.sum() + size) <= len(mask):
            mask[start : start + size] = True
    return masks


def hide(whole: Path, place: Path, seed: int) -> Path:
    """Copy a store without a fifth of the frames of each split, unless that was done before.

    Args:
        whole: the store.
        place: of the copy.
        seed: of the draws.
    """
    if not place.is_dir():
        store, beside = FeatureStore(whole), place.with_name(f".{place.name}")
        shutil.rmtree(beside, ignore_errors=True)  # of a run that was stopped
        open_store(beside, store.info)
        videos = sorted({part.parent.name for part in store.parts})
        for number, split in enumerate(sorted({name.partition("-")[0] for name in videos})):
            names = [name for name in videos if name.startswith(f"{split}-")]
            frames = [np.sort(store.frames_of(name)).astype(np.int64) for name in names]
            masks = hidden([len(one) for one in frames], np.random.default_rng((seed, number)))
            for name, known, mask in zip(names, frames, masks, strict=True):
                seen = known[~mask]
                embedding, outputs = store.read(store.find([name] * len(seen), seen))
                writer = FeatureWriter(beside, name, store.info)
                writer.add(seen, embedding, outputs)
                writer.finish()
        put_in_place(beside, place)
    return place


def _root(root: Path, lists: str) -> str:
    """Write the folders of some lists and of the pictures, as ``data.root`` takes them."""
    return f"[{root / lists},{root}]"


def timed(folder: Path, script: str, given: Sequence[str]) -> Path:
    """Run as ``runs.stages.run``, and keep the CPU seconds of this process beside the folder."""
    start, file = time.process_time(), folder.with_name(f"{folder.name}.cpu")
    run(folder, script, given)
    if not file.is_file():
        write_whole(file, f"{time.process_time() - start:.1f}\n")
    return folder


def systems() -> dict[str, tuple[str, ...]]:
    """Return the heads by name, with the keys that make them."""
    heads = {
        name: ("experiment=temporal", f"head={head}", "data.grid=frames", *keys)
        for name, (head, *keys) in TEMPORAL.items()
    }
    return {"frame": FRAME, **heads}


def predicted(place: Path, root: Path, paths: Sequence[str]) -> Iterator[tuple[str, Found]]:
    """Yield what a head says of the test videos, filled only and smoothed, by the name of what follows the head's.

    Args:
        place: of its training.
        root: of the videos.
        paths: overrides of where things are kept.
    """
    tested = place.with_name(f"{place.name}-test")
    given = [f"checkpoint={place}", f"data.labels.root={_root(root, 'test')}", "split=val", *OUTPUT, *paths]
    timed(tested, "evaluate", given)
    tables = {one: read_table(one / "predictions" / "val.parquet") for one in (place, tested)}
    searched = process([tables[place]], labels_of(place), PostProcess(**CHAIN, k="search")).found["k"]
    labels = labels_of(tested)
    unsmoothed = dict.fromkeys(searched, 0)
    for name, k in (("", unsmoothed), (", smoothed", searched)):
        yield name, Found(scored(tables[tested], labels, k), k)


def scored(table: Table, labels: Frames, k: Mapping[str, int]) -> Sums:
    """Return the sums of a table of test videos, filled and smoothed, over all its frames."""
    return sums(process([table], labels, PostProcess(**CHAIN, k=k)).table, labels).only(SCORES)


def study(
    folder: Path, seeds: Sequence[int], overrides: Sequence[str], network: Path | None = None,
    people: int = SIZES["train"],
) -> None:  # fmt: skip
    """Make the runs that are missing; then write and print the tables."""
    paths = [one for one in overrides if one.startswith("paths.")]
    network = network or timed(folder / "network", "train", [*NETWORK, *OUTPUT, *paths])
    found: dict[str, dict[str, list[Found]]] = {store: {} for store in STORES}
    for seed in seeds:
        of_seed = folder / f"seed{seed}"
        root = draw(of_seed / "videos", seed, {**SIZES, "train": people})
        for lists, splits in (("learning", "[train,val]"), ("test", "[val]")):
            timed(of_seed / f"extract-{lists}", "extract", [
                f"checkpoint={network}", f"store={of_seed}/whole", "data=affwild2_mtl",
                f"data.root={_root(root, lists)}", f"splits={splits}", "trainer=cpu", *paths,
            ])  # fmt: skip
        hide(of_seed / "whole", of_seed / "hidden", seed)
        for store, of_store in found.items():
            for name, keys in systems().items():
                place = timed(of_seed / f"{store}-{name}", "train", [
                    *keys, "scale=tiny", f"data.store={of_seed}/{store}", "data@data.labels=affwild2_mtl",
                    f"data.labels.root={_root(root, 'learning')}", f"trainer.max_epochs={EPOCHS}", f"seed={seed}",
                    *OUTPUT, *overrides,
                ])  # fmt: skip
                for what, one in predicted(place, root, paths):
                    of_store.setdefault(f"{name}{what}", []).append(one)
    tell(folder, seeds, found)


def tell(folder: Path, seeds: Sequence[int], found: Mapping[str, Mapping[str, Sequence[Found]]]) -> None:
    """Print a table for each store, and write ``results.json``."""
    results: dict[str, Any] = {"seeds": list(seeds)}
    for store, of_store in found.items():
        lines = [[STORES[store], "k", *(column for score in SCORES for column in (score, "ahead"))]]
        results[store] = {}
        for name, ones in of_store.items():
            ahead = leads(ones, of_store[REFERENCE]) if name != REFERENCE else {}
            scores = {score: [one.sums.named()[score] for one in ones] for score in SCORES}
            cells = [cell for score in SCORES for cell in (spread(scores[score]), str(ahead.get(score, "")))]
            lines.append([name, _written([one.k for one in ones]), *cells])
            results[store][name] = {"scores": scores, "k": [dict(one.k) for one in ones], "ahead, low, high": ahead}
        print(aligned(lines), end="\n\n")
    spent = {what: sum(float(file.read_text()) for seed in seeds for file in (folder / f"seed{seed}").glob(pattern))
             for what, pattern in (("extraction", "extract-*.cpu"), ("heads", "*-*.cpu"))}  # fmt: skip
    spent["heads"] -= spent["extraction"]
    print(f"CPU seconds: extraction {spent['extraction']:.0f}, heads {spent['heads']:.0f}")
    write_whole(folder / "results.json", json.dumps({**results, "CPU seconds": spent}, indent=2) + "\n")
    print(f"results: {folder / 'results.json'}")


def leads(ones: Sequence[Found], others: Sequence[Found]) -> dict[str, Interval]:
    """Return how far a system is ahead of another one in each score, with its interval."""
    return {score: nested([one.sums for one in ones], [one.sums for one in others], score) for score in SCORES}


def _written(k: Sequence[Mapping[str, int]]) -> str:
    """Write the half-widths of valence and arousal, expressions and action units: the median over the seeds."""
    return ", ".join(f"{statistics.median_low([one[task] for one in k])}" for task in k[0])


def main() -> None:
    """Read the command line and make the study."""
    parser = study_parser(__doc__, seeds=(0, 1, 2))
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of every run")
    parser.add_argument("--people", type=int, default=SIZES["train"], help="videos to learn from, each of another one")
    parser.add_argument("--network", type=Path, metavar="RUN", help="whose features are taken; nothing is drawn for it")
    options = parser.parse_intermixed_args()
    network = options.network and options.network.absolute()
    study(options.folder.absolute(), options.seeds, options.overrides, network, options.people)


if __name__ == "__main__":
    with clear_errors():
        main()
