"""Configurations of earlier runs, with what this command line changes. They may come from anybody.

Such a configuration is plain values (``runs.plain``), and nothing in it is resolved. What it says of places is followed
only where data is read; a run writes into its own folder and into the places that this command line and conf/ name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from affect.errors import ConfigError, UserError
from affect.hints import suggest
from datamodules.readers.folds import FILE
from evaluators.table import read_table
from rendering.layouts import LAYOUTS
from runs.building import check_targets, role_of, signature
from runs.config import CONFIG_DIR, keys
from runs.earlier import renamed
from runs.folder import checkpoint_of
from runs.options import render_node
from runs.plain import read_config
from runs.slurm import is_first_process

_COMMON: Final = ("trainer", "postprocess", "report")
"""Nodes in which keys that are newer than the stored configuration take their defaults."""

_OWN: Final = ("dirpath", "save_dir", "default_root_dir", "log_dir", "root_dir", "dir")
"""Arguments of callbacks, loggers and the trainer that say where to write: a run writes into its own folder."""


def stored_config(arguments: Sequence[str]) -> tuple[DictConfig, Path | None] | None:
    """Return the configuration of an earlier run, where the command line names one, with the other arguments applied.

    ``ckpt_path=<run>``, or one of the checkpoints in it, goes on in that run's folder; ``fork_from=<run>`` starts a
    new one.

    Args:
        arguments: the command line without the program's name.

    Returns:
        The configuration and the checkpoint to resume (None for a fork), or None where neither key is given.

    Raises:
        ConfigError: no such run, or arguments that a stored configuration does not take.
        UserError: no such checkpoint, or the run's ``config.yaml`` is damaged or hostile.
    """
    given = _given(arguments, ("ckpt_path", "fork_from", "paths.run_dir", "paths.cache_dir"))
    named = [key for key in ("ckpt_path", "fork_from") if given.get(key) is not None]
    if not named:
        return None
    if len(named) == 2:
        raise ConfigError(["give ckpt_path (resume) or fork_from (new run), not both"], "the command line")
    path = Path(given[named[0]])
    if named[0] == "ckpt_path":
        path = checkpoint_of("ckpt_path", path, "last")
    folder = path.parent.parent if named[0] == "ckpt_path" else path
    if not (folder / "config.yaml").is_file():
        form = "<run folder>/checkpoints/last.ckpt" if named[0] == "ckpt_path" else "<run folder>"
        raise ConfigError([f"{named[0]}={path}: there is no run; it must be {form}"], "the command line")
    config = _config_of_run(folder, arguments, given)
    config.ckpt_path = config.fork_from = None
    if named[0] == "ckpt_path":
        config.paths.run_dir = str(folder)
        return config, path
    config.fork_from = str(folder.absolute())
    return config, None


OF_RUN: Final = "runs.stored_config.data_of_run"
"""What the node ``data`` names where it is that of the run (conf/data/run.yaml)."""


def data_of_run(
    source: Path, changes: Mapping[str, Any], cache_dir: str, render: Mapping[str, Any] | None = None
) -> tuple[DictConfig, DictConfig | None]:
    """Return the nodes data and render of the run that made a file.

    Args:
        source: a checkpoint or a table, two folders below which the run's ``config.yaml`` is.
        changes: keys of ``data`` that the command line gives; null where it does not.
        cache_dir: of this machine: listings are kept and faces drawn there, wherever the run had them.
        render: with ``data=synthetic``, what the command line says of the faces to be drawn; null where it does not.

    Raises:
        ConfigError: there is no such file, or none of the run that made it; nothing can be drawn for its data.
        UserError: it is damaged or hostile.
    """
    if not source.is_file():
        raise ConfigError([f"no such file: {source}"], "the command line")
    stored = source.parent.parent / "config.yaml"
    if not stored.is_file():
        if source.suffix == ".parquet" and read_table(source).found is not None:
            raise ConfigError([f"{source} is of videos or pictures without labels; there is nothing to score it by"])
        raise ConfigError(
            [f"{stored} does not exist, so the data is unknown: give data=… data.root=…"], "the command line"
        )
    content = read_config(stored)
    given = {key: value for key, value in _without_nulls(changes).items() if key != "_target_"}
    if render is not None:
        content["render"] = _drawn_for(content, stored) | _without_nulls(render)
    elif "root" in given:
        content["render"] = None
    own: dict[str, Any] = {}
    if (_node(content, "data", stored) or {}).get("folds") is not None and stored.with_name(FILE).is_file():
        own = {"folds": str(stored.with_name(FILE)), "groups": None}  # as the run had them, wherever its folder is now
    _tell_places(content, {**own, **given}, stored)
    data, drawn = _here(content, stored, cache_dir)
    data |= own
    check_targets(data, "data", str(stored))
    check_targets(drawn, "render", str(stored))
    merged = OmegaConf.merge(data, given)
    assert isinstance(merged, DictConfig)
    return merged, None if drawn is None else OmegaConf.create(drawn)


def take_data_of_run(config: DictConfig, source: Path) -> None:
    """Give a configuration the data of the run that made a file, unless it names data of its own."""
    if config.data._target_ == OF_RUN:
        changes: Any = OmegaConf.to_container(config.data)
        render: Any = OmegaConf.to_container(config.render) if config.render is not None else None
        config.data, config.render = data_of_run(source, changes, config.paths.cache_dir, render)


def _drawn_for(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The node render of faces in the files that a run has read.

    Raises:
        ConfigError: the renderer does not draw such files.
    """
    data, drawn = (_node(content, key, path) or {} for key in ("data", "render"))
    files = {
        name: OmegaConf.load(CONFIG_DIR / "data" / f"{layout.data}.yaml")._target_ for name, layout in LAYOUTS.items()
    }
    fitting = [name for name in files if name == drawn.get("layout")]
    fitting += [name for name, target in files.items() if target == data.get("_target_")]
    if not fitting:
        raise ConfigError(
            [f"data=synthetic: nothing is drawn in the files of {data.get('_target_')}; give draws={'|'.join(files)}"],
            "the command line",
        )
    return render_node(fitting[0])


@contextmanager
def _second_hydra() -> Iterator[None]:
    """Set aside the Hydra that runs this process, if one does: there can be one at a time."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = running


def _config_of_run(folder: Path, arguments: Sequence[str], given: Mapping[str, str]) -> DictConfig:
    """Return a run's configuration with what the command line changes, its places being those of this machine."""
    path = folder / "config.yaml"
    content = read_config(path)
    with _second_hydra(), initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        usual: Any = OmegaConf.to_container(compose("train"), resolve=False)
    for key in ("callbacks", "trainer", "paths"):
        if not isinstance(content.get(key), dict):
            raise UserError(f"{path}: {key} is no mapping, so this is no training run; restore the file")
    content["paths"] = usual["paths"]
    for key in _COMMON:
        if key in content and content[key] is None:
            raise UserError(f"{path}: {key} is empty; restore the file")
        content[key] = {**usual[key], **(_node(content, key, path) or {})}
    content = {**{key: value for key, value in usual.items() if not isinstance(value, dict)}, **content}
    content["callbacks"] = {name: _of_folder(node, path) for name, node in content["callbacks"].items()}
    content["trainer"] = _of_folder(content["trainer"], path)
    if content.get("logger"):
        shared = content["logger"].get("_target_") == "runs.dashboards.MLflow"
        place = "${paths.output_dir}" if shared else "${paths.run_dir}"
        content["logger"] = {**_of_folder(content["logger"], path), "save_dir": place}
    cache_dir = given.get("paths.cache_dir", usual["paths"]["cache_dir"])
    _tell_places(content, [argument.partition("=")[0].removeprefix("data.") for argument in arguments], path)
    content["data"], content["render"] = _here(content, path, cache_dir)
    config = OmegaConf.create(content)
    _give(config, arguments, folder)
    return config


def _given(arguments: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return the values of some keys on a command line, where they are plain text."""
    given: dict[str, str] = {}
    for argument in arguments:
        key = argument.partition("=")[0]
        if key in names:
            with suppress(HydraException):  # told with all other errors later
                value = _value(argument)
                given |= {key: str(value)} if isinstance(value, str | int | float) else {}
    return given


def _give(config: DictConfig, arguments: Sequence[str], folder: Path) -> None:
    """Apply the command line to a run's configuration, in place.

    Raises:
        ConfigError: groups, keys that neither the configuration nor the signature of a node has, malformed values.
    """
    known, errors = [*keys(config), *_takes(config)], []
    for argument in arguments:
        key = argument.partition("=")[0].lstrip("+")
        if (CONFIG_DIR / key).is_dir():
            errors.append(f"{argument}: groups are fixed by the stored configuration of {folder}; give single keys")
        elif key in known:
            try:
                OmegaConf.update(config, key, _value(argument), force_add=True)
            except HydraException as error:
                errors.append(f"{argument!r} is not of the form key=value ({str(error).splitlines()[0]})")
        else:
            errors.append(f"unknown key {key!r} in {folder}/config.yaml; {renamed(key, known) or suggest(key, known)}")
    if errors:
        raise ConfigError(errors, "the command line")


def _takes(node: Any, prefix: str = "") -> Iterator[str]:
    """Return keys that the nodes of a configuration do not have, and that their targets take all the same."""
    if not isinstance(node, DictConfig):
        return
    target = node.get("_target_")
    if role_of(target):
        yield from (f"{prefix}{name}" for name in signature(target)[0])
    for key in map(str, node):
        if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
            yield from _takes(node[key], f"{prefix}{key}.")


def _node(content: Mapping[str, Any], key: str, path: Path) -> dict[str, Any] | None:
    """Look up a node of a configuration, or None where it is null or not there."""
    node = content.get(key)
    if node is not None and not isinstance(node, dict):
        raise UserError(f"{path}: {key} is no mapping; restore the file")
    return node


def _of_folder(node: Any, path: Path) -> Any:
    """Return a callback, logger or trainer that writes into the run's own folder, whatever a file says.

    Raises:
        UserError: a name that leads out of a folder, or a key that the signature does not have.
    """
    if not isinstance(node, dict):
        return node
    target: Any = node.get("_target_")
    unknown = [key for key in node if key != "_target_" and role_of(target) and key not in signature(target)[0]]
    leads = [
        f"{key}={value}"
        for key, value in node.items()
        if key in ("name", "version", "sub_dir", "filename") and isinstance(value, str)
        if value.startswith(("/", "~")) or ".." in Path(value).parts
    ]
    if unknown or leads:
        what = f"{', '.join(leads)} leads out of the run folder" if leads else f"{target} does not take {unknown[0]}"
        raise UserError(f"{path}: {what}; restore the file")
    return {key: value for key, value in node.items() if key not in _OWN}


def _here(content: Mapping[str, Any], path: Path, cache_dir: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the nodes data and render such that they write into this machine's cache.

    Drawn faces are read where the run had them, if they are there, and drawn into the cache otherwise.
    """
    data, render = (_node(content, key, path) for key in ("data", "render"))
    if data is None:
        raise UserError(f"{path}: no data, so this is no training run: give data=… data.root=…")
    data = _listed_here(data, cache_dir)
    if render is not None:
        render = {**render, "elsewhere": render.get("elsewhere") or data.get("root")}
        data["root"] = f"{cache_dir}/faces"
    return data, render


def _listed_here(data: Mapping[str, Any], cache_dir: str) -> dict[str, Any]:
    """Return a data node that keeps its listings in this machine's cache."""
    data = dict(data)
    if data.get("cache_dir") is not None:
        data["cache_dir"] = f"{cache_dir}/listings"
    if isinstance(data.get("labels"), dict):
        data["labels"] = _listed_here(data["labels"], cache_dir)
    return data


def _tell_places(content: Mapping[str, Any], given: Iterable[str], source: Path) -> None:
    """Print the places that a stored configuration makes a run read, and that the command line does not give."""
    places = [
        f"data.{key}={value}"
        for key, value in (_node(content, "data", source) or {}).items()
        if value and key not in given
        if key in ("root", "store", "groups")
        or key.endswith(("_root", "_list", "_annotations"))
        or (key == "folds" and isinstance(value, str))
    ]
    if places and is_first_process():
        print(f"reads {', '.join(places)}\n  as {source} says; give the keys to change them")


def _without_nulls(node: Any) -> dict[str, Any]:
    """Return what is given of a node whose keys are null otherwise."""
    pruned = {key: _without_nulls(value) if isinstance(value, dict) else value for key, value in node.items()}
    return {key: value for key, value in pruned.items() if value is not None and value != {}}


def _value(argument: str) -> Any:
    return OverridesParser.create().parse_override(argument).value()
