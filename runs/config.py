"""From the command line to plain values: every configuration error at once, before anything is built."""

from __future__ import annotations

import itertools
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

from affect.errors import ConfigError
from affect.hints import suggest
from runs.building import REPOSITORY, target_errors
from runs.described import described_features, described_stores, fold_numbers, labelled_tasks, laid_windows
from runs.earlier import check_words, renamed
from runs.names import called, grouped
from runs.options import DOCTOR, composing_error, options, register

Problems: TypeAlias = Callable[[Mapping[str, Any]], Iterable[str]]
"""What an entry point finds wrong with a resolved configuration, each naming its key."""

CONFIG_DIR: Final = REPOSITORY / "conf"
LAUNCHER: Final = "hydra/launcher"


def automatic_precision(accelerator: str) -> str:
    """``bf16-mixed`` where the hardware multiplies bf16 matrices faster than float32 ones, else ``32-true``."""
    import torch  # takes a second, which help and misspelt keys can do without

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    has_bf16 = accelerator in ("auto", "cpu") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16-mixed" if has_bf16 else "32-true"


def masked_batch(base: int, mask_ratio: float, cap: int) -> int:
    """CoTEX's batch rule: as many more faces as fewer patches of each are seen, ``base * int(1 / (1 - ratio))``.

    Args:
        base: batch without a mask.
        mask_ratio: share of patches removed; one outside [0, 1) is left for the model to refuse.
        cap: largest batch.
    """
    return min(base * int(1 / (1 - mask_ratio)), cap) if 0 <= mask_ratio < 1 else base


def scaled_batch(batch: int, factor: float) -> int:
    """A published batch at another scale, at least 1."""
    return max(int(batch * factor), 1)


register()
_RESOLVERS: Final[Mapping[str, Callable[..., Any]]] = {
    "called": called, "grouped": grouped, "fold_numbers": fold_numbers, "features": described_features,
    "stores": described_stores, "tasks": labelled_tasks, "laid": laid_windows, "scaled_batch": scaled_batch,
    "precision": automatic_precision, "masked_batch": masked_batch,
}  # fmt: skip
for _name, _resolver in _RESOLVERS.items():
    OmegaConf.register_new_resolver(_name, _resolver, replace=True)


def literal_paths(arguments: Sequence[str]) -> list[str]:
    """Quote the paths of a command line, so that Hydra takes each as it stands, whatever characters it has.

    Hydra's grammar gives a meaning to commas, brackets, quotes and ``=``, and knows no letters beyond ASCII. A value
    that it would read as anything but itself is taken as a path where there is such a file or folder; and, where the
    grammar cannot read it at all, where there is the folder that it would be in. In a sweep (``-m``), a comma outside
    quotes separates jobs.

    Args:
        arguments: the command line without the program's name.

    Returns:
        The same arguments, with those paths in quotes.
    """
    sweep = not {"-m", "--multirun"}.isdisjoint(arguments)
    return [_literal(argument, sweep=sweep) for argument in arguments]


def _literal(argument: str, *, sweep: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals or argument.startswith("-") or not value:
        return argument
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        readable = False
    else:
        read = override.value()
        if sweep and override.is_sweep_override():
            return argument
        if (read == value and "${" not in value) or isinstance(read, int | float | None):
            return argument
        readable = True
    path = Path(value).expanduser()
    try:
        exists = path.exists()
        meant = exists or (not readable and "/" in value and path.parent.is_dir())
    except (OSError, ValueError):  # too long for a name, or with a NUL
        return argument
    text = quoted(str(path))
    if not exists:
        text = text.replace("\\${", "${")  # a name that is yet to be filled in
    return f"{key}={text}" if meant else argument


def quoted(text: str) -> str:
    """Text that Hydra reads as itself."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped.replace('${', chr(92) + '${')}'"


def check_command_line(config_name: str, arguments: Sequence[str]) -> None:
    """Looks up every ``key=value`` of the command line, so that all misspelt keys are told in one go.

    Hydra stops at the first and suggests nothing. Group choices are composed first, since they decide which
    keys exist.

    Args:
        config_name: primary configuration, for example ``train``.
        arguments: the command line without the program's name; flags are left to Hydra.

    Raises:
        OldCommandError: words of an earlier version.
        ConfigError: a key that does not exist, an unknown group or option, or a malformed argument.
    """
    primary = (
        OmegaConf.create(DOCTOR) if config_name == "doctor" else OmegaConf.load(CONFIG_DIR / f"{config_name}.yaml")
    )
    groups = {name.split()[-1] for choice in primary.defaults if choice != "_self_" for name in choice}
    check_words(f"{config_name}.py", arguments, groups)
    given, others = get_args_parser().parse_known_args(arguments)
    if given.shell_completion:
        return  # its arguments are words of its own: install=bash
    overrides: list[Override] = []
    dashed = [word for word in others if word.startswith("-")]
    errors = [f"{word}: no such flag; keys are given without dashes, as key=value" for word in dashed]
    needed = [str(key) for key in primary if OmegaConf.is_missing(primary, key)]
    for argument in given.overrides:
        try:
            overrides.append(OverridesParser.create().parse_override(argument))
        except HydraException as error:
            meant = f"did you mean {needed[0]}={argument}?" if needed and "=" not in argument else str(error)
            errors.append(f"{argument!r} is not of the form key=value ({meant.splitlines()[0]})")
    choices, values = [], []
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        for override in overrides:
            key = str(override.get_key_element()).lstrip("+~")
            if override.is_sweep_override() and not given.multirun:
                values_of = str(override.input_line).partition("=")[2]
                errors.append(
                    f"{key}={values_of}: write several values as '{key}=[{values_of}]'; with -m each is a run"
                )
            if key == LAUNCHER and str(override.value()) not in (known := options(key)):
                there = f"{key}={override.value()} is not installed, there is {', '.join(known)}"
                errors.append(f'{there}; joblib, submitit_local and submitit_slurm: pip install -e ".[sweeps]"')
            if override.is_sweep_override() or key.startswith("hydra"):
                continue
            if not (available := options(key)):
                values.append((key, override))
                continue
            option = str(override.value())
            if option != "None" and option not in available:
                errors.append(f"{key}={option}: no such option; {suggest(option, available)}")
            else:
                choices.append(str(override.input_line))
        if errors:
            raise ConfigError(errors, "the command line")
        try:
            config = compose(config_name, overrides=choices, return_hydra_config=True)
        except HydraException as error:
            failed = composing_error(config_name, error, [*map(str, primary)])
            raise ConfigError([failed], "the command line") from error
    errors += _without_values(config.hydra.runtime.choices, overrides)
    errors += _chosen_twice(config.hydra, overrides)
    known = [key for key in keys(config) if not key.startswith("hydra")]
    for key, override in values:
        told = None if key in known else renamed(key, known)
        if key not in known and (told or not (override.is_add() or override.is_force_add())):
            errors.append(f"unknown key {key!r}; {told or suggest(key, known)}")
    if errors:
        raise ConfigError(errors, "the command line")


def check_set(config_name: str, arguments: Sequence[str]) -> None:
    """Look for values that are not set, as ``resolve`` does, before anything is imported that takes seconds.

    Args:
        config_name: primary configuration.
        arguments: the command line, which has been checked; of a sweep, each job is looked at by itself instead.

    Raises:
        ConfigError: with all of them.
    """
    given, _ = get_args_parser().parse_known_args(arguments)
    if given.multirun or given.shell_completion or given.cfg:
        return
    # what fails here for another reason is told when Hydra composes it
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"), suppress(HydraException, OmegaConfBaseException):
        config = compose(config_name, overrides=given.overrides)
        if config_name == "evaluate":
            check_source(config)
        if config.get("checkpoint") is not None:
            config.model = None  # extract.py takes that of the checkpoint
        if "trainer" in config:
            config.trainer.precision = None  # to look at it would import torch
        if errors := list(_unresolvable(config)):
            raise ConfigError(errors)


def check_source(config: DictConfig) -> None:
    """Check that evaluate.py is told what to evaluate.

    Raises:
        ConfigError: nothing, or several things.
    """
    if sum((config.checkpoint is not None, bool(config.predictions), config.folds is not None)) != 1:
        raise ConfigError(
            ["give one of checkpoint=<file>, predictions=[<file>, …] and folds=<folder of a sweep>"], "the command line"
        )


def composed(config_name: str, arguments: Sequence[str]) -> DictConfig:
    """Compose a configuration from a command line, which is checked first; arguments are as for that.

    Raises:
        ConfigError: an argument that the entry point does not take, or a key below one that it has.
    """
    check_command_line(config_name, arguments)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        try:
            return compose(config_name, overrides=list(arguments))
        except HydraException as error:
            raise ConfigError([" ".join(str(error).split())], "the command line") from error


def _without_values(choices: Mapping[str, str | None], overrides: Sequence[Override]) -> Iterator[str]:
    """Find experiments that are asked for at a scale that does not say what differs from the paper."""
    swept = {str(one.get_key_element()): one.sweep_string_iterator() for one in overrides if one.is_sweep_override()}
    scales, experiments = ([*swept.get(key, [choices.get(key)])] for key in ("scale", "experiment"))
    for scale, experiment in itertools.product(scales, experiments):
        file = CONFIG_DIR / "values" / f"{scale}/{experiment}.yaml"
        if experiment is not None and scale not in (None, "paper") and not file.is_file():
            there = sorted(one.parent.name for one in file.parents[1].glob(f"*/{file.name}"))
            others = " or ".join(f"scale={one}" for one in ("paper", *there))
            yield (
                f"experiment={experiment} has no values for scale={scale}: give {others}, or write {file} (what "
                "differs from the paper, and why; nothing but its first line, # @package _global_, where nothing does)"
            )


def _chosen_twice(hydra: DictConfig, overrides: Sequence[Override]) -> Iterator[str]:
    """Find what is chosen beside the systems of a sweep, which have it already: it would be that of every row."""
    if hydra.runtime.choices.get("system") is None and "system" not in (hydra.sweeper.get("params") or {}):
        return
    for key in {str(one.get_key_element()) for one in overrides} & {"experiment", "backbone"}:
        yield (
            f"{key}=…: every row of sweep=table1 has its own. Leave it out; system=resnet50,emotionnet picks rows, by "
            "the names of backbones and emotionnet"
        )


def keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """All keys of a configuration, nested ones with dots."""
    for key in map(str, node):
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
            child = node._get_node(key)
            if isinstance(child, DictConfig) and not child._is_none():
                yield from keys(child, f"{prefix}{key}.")


def resolve(config: DictConfig, problems: Problems | None = None, where: str = "the configuration") -> dict[str, Any]:
    """Resolves and checks a whole configuration before anything is built from it.

    Args:
        config: the composed configuration.
        problems: of the resolved one, which the entry point finds: see ``affect.hints.key_errors``.
        where: it comes from, for the message.

    Returns:
        The same as plain containers, every interpolation resolved, with absolute roots and stores in ``data``: what a
        run folder keeps of it holds wherever it is read.

    Raises:
        ConfigError: every value that is not set or cannot be resolved; or every target that is not in the allow-list,
            every key that its target does not take, every value of a wrong type or out of range, and all problems.
    """
    if errors := list(_unresolvable(config)):
        raise ConfigError(errors, where)
    plain = typing.cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=False))
    errors = [*target_errors(plain), *(problems(plain) if problems is not None else ())]
    if errors:
        raise ConfigError(errors, where)
    return {**plain, "data": _absolute(plain["data"])} if "data" in plain else plain


def _absolute(node: Any) -> Any:
    """Return a path or a list of paths as absolute ones; of the node ``data``, those that name files of the data."""
    if isinstance(node, dict):
        files = {"root", "store"} | ({"folds"} if isinstance(node.get("folds"), str) else set())
        places = {key for key, value in node.items() if key in files or isinstance(value, dict)}
        return {key: _absolute(value) if key in places else value for key, value in node.items()}
    return [_absolute(one) for one in node] if isinstance(node, list) else str(Path(node).expanduser().absolute())


def _unresolvable(node: Any, prefix: str = "", *, wanted: bool = True) -> Iterator[str]:
    """Find what is not set where something is built from it; tables of choices, which others take from, may be open."""
    keys = range(len(node)) if OmegaConf.is_list(node) else list(node)
    for key in keys:
        name = f"{prefix}{key}"
        try:
            value = node[key]
        except (MissingMandatoryValue, InterpolationToMissingValueError) as error:
            if wanted:  # the key itself, or the one that it takes its value from
                missing = str(error).splitlines()[0].rpartition("Missing mandatory value: ")[2]
                yield f"{name} is not set: give {missing}=… on the command line{_hint(missing)}"
        except OmegaConfBaseException as error:
            told = f"{name} cannot be resolved: {str(error).splitlines()[0]}"
            yield told.rpartition("DataError raised while resolving interpolation: ")[
                2
            ]  # of a store: it names the file
        else:
            if OmegaConf.is_config(value) and value is not None and not value._is_none():
                built = OmegaConf.is_dict(value) and "_target_" in value
                yield from _unresolvable(value, f"{name}.", wanted=built or (wanted and prefix != ""))


def _hint(name: str) -> str:
    if name.endswith("weights"):
        return " (a file, a registry name, timm:NAME, or the word random; this scale has no default)"
    return " (the folder that holds the images and the annotation files)" if name.endswith("root") else ""
