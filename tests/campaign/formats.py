"""Every format of the campaign: its valid files, the framework's reader of it, and the strict one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import bases, strict_binary, strict_lists, strict_settings

Reader = Callable[[Path], Any]


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        mutations: how many of it ``make campaign`` tries.
        make: writes valid files below a folder, each in a folder of its own that is copied with it.
        ours: the framework's reader; gives plain containers.
        strict: the strict reader; gives the same of the same file.
        pattern: of the files that are changed.
        text: lines and fields are changed as well as bytes.
        defaults: keys that the file has not take their defaults; they are not compared.
        sealed: has a checksum of all its content (or is to have one): whatever is read must be what was written.
    """

    mutations: int
    make: Callable[[Path], None]
    ours: Reader
    strict: Reader
    pattern: str = "*"
    text: bool = True
    sealed: bool = False
    defaults: bool = False


def _number(value: Any) -> Any:
    """A value of an array as a plain one; None for NaN."""
    return None if value != value else value


def _rows(*columns: Any) -> list[list[Any]]:
    plain = [np.asarray(column) for column in columns]
    lists = [column.reshape(len(column), -1).tolist() if column.size else [] for column in plain]
    return [[_number(value) for part in row for value in part] for row in zip(*lists, strict=True)]


def _mtl(path: Path) -> Any:
    from datamodules.readers.mtl import read_mtl

    found = read_mtl(path)
    labels = (found.valence_arousal, found.expression, found.action_units)
    return [[*row, *values] for row, values in zip(_listed(found), _rows(*labels), strict=True)]


def _listed(frames: Any) -> list[list[Any]]:
    return [list(row) for row in zip(frames.image, frames.video, map(int, frames.frame), strict=True)]


def _labels(task: str) -> Reader:
    def read(path: Path) -> Any:
        from datamodules.readers.uni import read_labels

        rows = _rows(read_labels(path, task)[0])  # type: ignore[arg-type]
        return [[-1 if row == [None] else int(row[0])] for row in rows] if task == "expr" else rows

    return read


def _strict_labels(task: str) -> Reader:
    return lambda path: strict_lists.labels(path, task)


def _test_list(path: Path) -> Any:
    from datamodules.readers.mtl import read_frame_list
    from datamodules.readers.uni import read_test_frames, read_test_videos

    task = _task_of(path)
    if task is None:
        return _listed(read_frame_list(path))
    frames, _ = read_test_frames(path, task)  # type: ignore[arg-type]
    return ["videos", *read_test_videos(path)] if frames is None else ["frames", *_listed(frames)]


def _strict_test_list(path: Path) -> Any:
    task = _task_of(path)
    return strict_lists.mtl_list(path) if task is None else strict_lists.test_list(path, task)


def _task_of(path: Path) -> str | None:
    """Of which challenge a list is, by its name."""
    return next((task for task in ("va", "expr", "au") if f"_{task}_" in path.name.lower()), None)


def _video_list(path: Path) -> Any:
    from datamodules.readers.uni import read_test_videos

    return list(read_test_videos(path))


def _frame_counts(path: Path) -> Any:
    from datamodules.readers.uni import read_frame_counts

    return sorted(read_frame_counts(path)[0].items())


def _partition(path: Path) -> Any:
    from datamodules.readers.celeba import read_partition

    return sorted(read_partition(path)[0].items())


def _videos_csv(path: Path) -> Any:
    from videos.folder import read_finished

    found = {name: list(vars(video).values())[1:] for name, video in read_finished(path.parent).items()}
    # an earlier version knows nothing of what comes after the first ten
    return sorted(
        [name, *(row if any(value is not None for value in row[9:]) else row[:9])] for name, row in found.items()
    )


def _postprocess(path: Path) -> Any:
    """As evaluate.py follows it: what was searched for two tables, and whether the labels are the same."""
    from evaluators.postprocess.blending import resolve_weights
    from evaluators.postprocess.settings import read_stored, searched_on
    from evaluators.postprocess.thresholds import resolve_thresholds

    both = path.parent.name == "both"
    weights = resolve_weights(str(path), 2) if both else {}
    others = [read_stored(path, key) for key in ("temperature", "coverage")] if both else []
    same = searched_on(path, {"validation_set_annotations.txt": "0123456789abcdef" * 4})
    return {key: list(value) for key, value in weights.items()}, list(resolve_thresholds(str(path))), others, same


def _strict_postprocess(path: Path) -> Any:
    content = strict_settings.postprocess(path)
    weights = {key: [value / sum(pair) for value in pair] for key, pair in content.get("weights", {}).items()}
    both = path.parent.name == "both"
    asked = ["weights", "temperature", "coverage", "au_thresholds"] if both else ["au_thresholds"]
    if not {*asked} <= {*content}:
        raise strict_lists.RefusedError("what was asked for is not there")
    same = list(content["searched_on"]["label_files"].values()) == ["0123456789abcdef" * 4]
    return (
        (weights if both else {}),
        [content["au_thresholds"][unit] for unit in strict_settings.UNIT_NAMES],
        [content[key] for key in ("temperature", "coverage")] if both else [],
        same,
    )


def _affectnet(path: Path) -> Any:
    from datamodules.readers.affectnet import read_annotations

    kind: Any = path.parent.name.split()[0]
    more: list[Any] = []
    if "links" in inspect.signature(read_annotations).parameters:
        from datamodules.links import Links

        more = [Links(path.parent, follow_outside=False)]
    return list(read_annotations(path.parent, kind, None, *more).values())


def _strict_affectnet(path: Path) -> Any:
    return [strict_binary.annotation(path, path.parent.name.split()[0])]


def _table(path: Path) -> Any:
    from evaluators.table import column_names, read_table

    found = read_table(path)
    columns = {"row": list(range(len(found))), "video": list(found.video), "frame": list(map(int, found.frame))}
    columns["image"] = list(found.image)
    for key, values in found.predictions.items():
        for name, column in zip(column_names(key, found.expressions), values.T, strict=True):
            columns[name] = [_number(value) for value in column.tolist()]
    return columns, {key: found.metadata[key] for key in ("experiment", "label_files")}


def _strict_table(path: Path) -> Any:
    found = strict_binary.table(path)
    return found["columns"], {key: found["made"][key] for key in ("experiment", "label_files")}


def _store_index(path: Path) -> Any:
    from features.store import FeatureStore

    info = FeatureStore(path.parent).info
    return {key: value if key != "outputs" else list(value) for key, value in vars(info).items() if key in _INDEX}


_INDEX = tuple(strict_settings.STORE)


def _store_arrays(path: Path) -> Any:
    from features.store import FeatureStore

    found = FeatureStore(path.parents[2])
    read = {}
    for video in ("video1", "video2_left"):
        frames = np.asarray(found.frames_of(video))
        places = found.find([video] * len(frames), frames.astype(np.int64))
        features = found.read(places)
        read[video] = [frames, features.embedding, features.outputs, found.read_outputs(places)]
    return read


def _strict_store_arrays(path: Path) -> Any:
    read = {}
    for video, arrays in strict_binary.store(path.parents[2]).items():
        frame, embedding, outputs = (arrays[kind] for kind in ("frame", "embedding", "outputs"))
        read[video.partition("/")[0]] = [frame, embedding, outputs, outputs]
    return read


def _checkpoint(path: Path) -> Any:
    from dataclasses import asdict

    from runs.checkpoints import load_module

    module = load_module(path)
    content = {"state_dict": module.state_dict(), "model_config": module.model_config}
    return strict_binary.plain_checkpoint({**content, "preprocessing": asdict(module.preprocessing)})


def _config(path: Path) -> Any:
    """As train.py follows ``fork_from``, before it builds anything."""
    from evaluators.postprocess.options import PostProcess
    from runs.config import resolve

    try:
        from runs.stored_config import stored_config
    except ModuleNotFoundError:  # before it had a module of its own
        from runs.config import stored_config  # type: ignore[attr-defined,no-redef]
    found = stored_config([f"fork_from={path.parent}", "paths.run_dir=/elsewhere"])
    assert found is not None
    # as opened_run does for train.py
    plain = resolve(found[0], lambda made: PostProcess.problems(made["postprocess"]), str(path))
    return _without_own(plain)


def _without_own(plain: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the keys that its reader sets itself, whatever they were."""
    kept = {key: value for key, value in plain.items() if key not in ("fork_from", "ckpt_path", "paths")}
    if isinstance(kept.get("render"), dict):  # drawn into this machine's cache
        kept["render"] = {key: value for key, value in kept["render"].items() if key not in ("cache", "elsewhere")}
    if isinstance(kept.get("data"), dict):  # whose listings are kept in this machine's cache, too
        kept["data"] = {key: value for key, value in kept["data"].items() if key != "cache_dir"}
    return kept


def _strict_config(path: Path) -> Any:
    return _without_own(strict_settings.config(path))


def _onnx(path: Path) -> Any:
    from backbones.onnx import onnx_state

    found = onnx_state(path, bases.small_network())
    return {name: value.numpy() for name, value in found.items() if name != "bn1.num_batches_tracked"}


def _strict_onnx(path: Path) -> Any:
    return dict(strict_binary.onnx(path))


FORMATS = {
    "MTL lists": Format(10_000, bases.mtl, _mtl, strict_lists.mtl),
    "VA": Format(10_000, bases.va, _labels("va"), _strict_labels("va")),
    "EXPR": Format(10_000, bases.expr, _labels("expr"), _strict_labels("expr")),
    "AU": Format(10_000, bases.au, _labels("au"), _strict_labels("au")),
    "test lists": Format(10_000, bases.test_lists, _test_list, _strict_test_list),
    "video lists": Format(10_000, bases.video_lists, _video_list, strict_lists.video_list),
    "frame counts": Format(10_000, bases.frame_counts, _frame_counts, strict_lists.frame_counts),
    "partition": Format(10_000, bases.partition, _partition, strict_lists.partition),
    "videos.csv": Format(
        10_000, bases.videos_csv, _videos_csv, lambda path: strict_settings.finished_videos(path.parent)
    ),
    "postprocess.json": Format(10_000, bases.postprocess, _postprocess, _strict_postprocess),
    "AffectNet": Format(1_000, bases.affectnet, _affectnet, _strict_affectnet, text=False),
    "table": Format(1_000, bases.table, _table, _strict_table, text=False, sealed=True),
    "store index": Format(
        1_000,
        bases.store,
        _store_index,
        lambda path: strict_settings.store_index(path.parent),
        pattern="store.json",
        sealed=True,
    ),
    "store arrays": Format(
        1_000, bases.store, _store_arrays, _strict_store_arrays, pattern="*.npy", text=False, sealed=True
    ),
    "checkpoint": Format(1_000, bases.checkpoint, _checkpoint, strict_binary.checkpoint, text=False, sealed=True),
    "config.yaml": Format(1_000, bases.config, _config, _strict_config, defaults=True),
    "ONNX": Format(1_000, bases.onnx, _onnx, _strict_onnx, text=False),
}
