"""What recipe.py does: the stages of conf/recipe.yaml, one after the other, each unless it is finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypedDict

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from affect.errors import ConfigError, DataError
from affect.hints import key_errors
from affect.labels import UniTask
from affect.settings import Count
from datamodules.folds import POOLED
from evaluators.postprocess.biases import SEARCHES as BIASES
from evaluators.postprocess.options import PostProcess
from evaluators.postprocess.settings import SEARCHED, STORED
from evaluators.postprocess.thresholds import SEARCHES as THRESHOLDS
from features.store_files import StoreInfo
from heads.temporal.choices import HEADS
from rendering.cache import rendered
from runs.config import check_command_line, literal_paths
from runs.described import labelled_tasks
from runs.stages import run

_WORDS: Final = (*BIASES, *THRESHOLDS)
"""What asks for a search, of whatever key."""


class Stage(NamedTuple):
    """A run of an entry point: its name, which is that of its folder, and the words of its command line."""

    name: str
    script: str
    words: tuple[str, ...]


class _Labels(TypedDict):
    root: str | None
    task: UniTask | None
    test_list: str | None
    test_root: str | None


class _Settings(TypedDict):
    """Keys of conf/recipe.yaml that no node below it has."""

    reader: str
    labels: _Labels
    grid: Literal["rows", "frames"]
    store: str | None
    heads: Sequence[str]
    folds: Count
    network: Mapping[str, Any]
    hardware: Literal["auto", "cpu", "gpu"]
    overrides: Mapping[str, Any]


class _Stage(TypedDict):
    name: str
    run: Literal["train", "extract", "evaluate"]
    words: Sequence[Any]


def recipe(config: DictConfig) -> None:
    """Make every stage that is not finished.

    Raises:
        ConfigError: a key has a value that it cannot have, all told at once before anything is made; or the folder of
            a stage holds a run of other words.
        UserError: a stage failed; those before it are kept.
    """
    if errors := list(_problems(config)):
        raise ConfigError(errors)
    folder = Path(config.folder).expanduser().absolute()
    drawn = config.labels.root is None
    root = Path(config.paths.cache_dir) / "faces" if drawn else Path(config.labels.root).expanduser()
    for script, words in {stage.name.partition("/")[0]: stage[1:] for stage in stages(config, folder, root)}.values():
        check_command_line(script, literal_paths(words))
    if drawn:
        root = rendered(root, **OmegaConf.to_container(config.render))  # type: ignore[arg-type]
    for stage in stages(config, folder, root.absolute()):
        run(folder / stage.name, stage.script, literal_paths(stage.words))
    print(f"\nscores of the pool: {folder / 'decisions' / 'scores.json'}")
    print(f"submission: {folder / 'submission.txt'}")


def stages(config: DictConfig, folder: Path, root: Path) -> Iterator[Stage]:
    """Yield the stages in their order, for each head and fold that their names tell apart.

    Args:
        config: of the recipe.
        folder: of all stages.
        root: of the lists and labels.

    Raises:
        ConfigError: a word asks for a name that is not there.
    """
    names = _names(config, folder, root)
    found: Any = OmegaConf.create({**OmegaConf.to_container(config), **names})  # type: ignore[dict-item]
    for index, node in enumerate(OmegaConf.to_container(config.stages)):  # type: ignore[arg-type]
        heads = names["heads"] if "${head}" in node["name"] else [None]
        folds = range(config.folds) if "${fold}" in node["name"] else [None]
        for head, fold in product(heads, folds):
            try:
                found.head, found.fold = head, fold
                made: Any = OmegaConf.to_container(found.stages[index], resolve=True)
            except OmegaConfBaseException as error:
                raise ConfigError([f"stages: {node['name']}: {str(error).splitlines()[0]}"]) from error
            if made.get("unless") is None:
                words = (*_flat(made["words"]), f"paths.cache_dir={config.paths.cache_dir}")
                yield Stage(made["name"], made["run"], words)


def _names(config: DictConfig, folder: Path, root: Path) -> dict[str, Any]:
    """Return what the words of stages may ask for besides the keys of the configuration."""
    labels = {**config.labels, "root": str(root)}
    given = {key: value for key, value in labels.items() if value is not None}
    heads, test = list(config.heads), "val" if config.labels.test_list is None else "test"
    usual, settings = PostProcess(), OmegaConf.to_container(config.postprocess)
    assert isinstance(settings, dict)
    changed = {str(key): value for key, value in settings.items() if value != getattr(usual, str(key))}
    stored = {key: str(folder / "decisions" / STORED) for key, value in changed.items() if _is_searched(key, value)}
    apart = {key: value for key, value in changed.items() if key != "cross_fit"}
    return {
        "folder": str(folder),
        "heads": heads,
        "features": config.store or str(folder / "store"),
        "dealt": "[train]" if test == "val" else "[train,val]",
        "test": test,
        "lists": [f"data.{key}={value}" for key, value in given.items() if not key.startswith("test_")],
        "of_heads": [f"data.labels.{key}={value}" for key, value in given.items()],
        "pooled": _listed(folder / f"{head}-pool" / "predictions" / f"{POOLED}.parquet" for head in heads),
        "tested": _listed(folder / f"{head}-test" / "predictions" / f"{test}.parquet" for head in heads),
        "learning": [*_as_words(config.network)],
        "besides": [*_as_words(config.overrides)],
        "searching": [f"postprocess.{key}={_written(value)}" for key, value in changed.items()],
        "searched": [f"postprocess.{key}={_written(value)}" for key, value in {**apart, **stored}.items()],
    }


def _as_words(node: Mapping[Any, Any], above: str = "") -> Iterator[str]:
    """Yield ``key=value`` for the keys of a node and of those below it."""
    for key, value in node.items():
        if isinstance(value, Mapping | DictConfig):
            yield from _as_words(value, f"{above}{key}.")
        else:
            yield f"{above}{key}={_written(value)}"


def _is_searched(key: str, value: Any) -> bool:
    """Tell whether a key of the post-processing is settled on the pool."""
    return key in SEARCHED and (value in _WORDS if isinstance(value, str) else key == "coverage")


def _written(value: Any) -> str:
    """Write a plain value as Hydra reads it."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Sequence | ListConfig) and not isinstance(value, str):
        return "[" + ",".join(map(_written, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _listed(paths: Iterator[Path]) -> str:
    """Write paths as a list on a command line."""
    quoted = (str(path).replace("\\", "\\\\").replace("'", "\\'") for path in paths)
    return "[" + ",".join(f"'{path}'" for path in quoted) + "]"


def _flat(words: Sequence[Any]) -> Iterator[str]:
    for word in words:
        if isinstance(word, list):
            yield from _flat(word)
        else:
            yield str(word)


def _places(root: str, store: str | None) -> Iterator[str]:
    """Find data of somebody's own that are not there."""
    if not Path(root).expanduser().is_dir():
        yield f"labels.root={root}: no such folder"
    try:
        if store is not None:
            StoreInfo.read(Path(store).expanduser())
    except DataError as error:
        yield f"store={store}: {error}"


def _problems(config: DictConfig) -> Iterator[str]:
    """Find what is wrong with the keys."""
    plain: Any = {key: config[key] for key in config if key != "stages"}
    plain = OmegaConf.to_container(OmegaConf.create(plain), resolve=False)
    yield from key_errors(plain, _Settings)
    heads = plain["heads"] if isinstance(plain["heads"], list) else []
    if unknown := [head for head in heads if head not in HEADS]:
        yield f"heads: there is no {unknown[0]}; there are {', '.join(HEADS)}"
    if not heads or len(set(heads)) < len(heads):
        yield f"heads={plain['heads']}: give one or more, each once: heads=[transformer,gru]"
    if plain["folds"] == 1:
        yield "folds=1: give 2 or more"
    if plain["labels"]["root"] is None and (plain["store"] or plain["labels"]["test_list"]):
        yield "store and labels.test_list are of data of your own: give labels.root, too"
    if plain["labels"]["root"] is not None and plain["store"] is None:
        yield "labels.root: give store, too, with features of these frames: python extract.py store=<folder> … makes it"
    if plain["labels"]["root"] is not None:
        yield from _places(plain["labels"]["root"], plain["store"])
    yield from PostProcess.problems(plain["postprocess"], max(len(heads), 1))
    tasks = labelled_tasks(plain["labels"])
    for key, task, instead in (("expression_biases", "expression", "null"), ("au_thresholds", "action_units", "0.5")):
        if task not in tasks and _is_searched(key, value := plain["postprocess"].get(key)):
            yield (
                f"postprocess.{key}={value}: labels.task={plain['labels']['task']} has none of its labels to search "
                f"on: give postprocess.{key}={instead}"
            )
    if not isinstance(config.stages, ListConfig):
        yield "stages is no list; see conf/recipe.yaml"
        return
    for node in OmegaConf.to_container(config.stages):  # type: ignore[union-attr]
        keys = node.keys() if isinstance(node, dict) else ()
        if not {"name", "run", "words"} <= set(keys) <= {"name", "run", "words", "unless"}:
            yield f"stages: {node!r:.80}: a stage has name, run and words, and may have unless"
        else:
            yield from key_errors(node, _Stage, "stages: ")  # type: ignore[arg-type]
