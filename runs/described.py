"""What a configuration looks up in the data that it names: features of stores, tasks of labels, folds of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from affect.labels import TASKS, UNI_TASKS
from datamodules.readers.folds import Dealt
from features.planning import Laid
from features.store_files import StoreInfo


def described_features(store: str) -> dict[str, Any]:
    """What heads must know of a feature store: ``heads.network.FeatureDescription``."""
    info = StoreInfo.read(Path(store).expanduser())
    made = {} if info.made_by is None else {"made_by": info.made_by}
    needed = {"sha256": info.sha256, "embedding": info.embedding, "outputs": list(info.outputs)}
    return {**needed, "dtype": info.dtype, **made}


def described_stores(stores: str | Sequence[str]) -> list[dict[str, Any]]:
    """What a temporal head must know of one feature store or several, in their order."""
    return [described_features(store) for store in ([stores] if isinstance(stores, str) else stores)]


def laid_windows(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the windows of a data module lie: ``features.planning.Laid``; None of one that has none."""
    return {key: data[key] for key in Laid.__annotations__} if "window" in data else None


def labelled_tasks(labels: Mapping[str, Any]) -> list[str]:
    """The tasks that a data module has labels of: those of the uni-task challenges that it names, or all three."""
    named = labels.get("tasks") or [labels.get("task")]
    return [UNI_TASKS[name] for name in named if name in UNI_TASKS] or list(TASKS)


def fold_numbers(folds: int | str) -> str:
    """The folds that a sweep takes, ``0,1,2``: of so many, or of a file of folds."""
    return ",".join(map(str, range(folds if isinstance(folds, int) else Dealt.read(Path(folds).expanduser()).count)))
