"""``python prepare.py weights [NAME …]``, ``prepare.py faces VIDEO … --out FOLDER`` and ``prepare.py store FOLDER``."""

from __future__ import annotations

import argparse
import difflib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from affect.checksums import file_sha256
from backbones.files import INSTALL, fetch, local_path, weights_folder
from backbones.registry import REGISTRY, WeightsEntry
from backbones.state import WeightsError
from features.store import StoreError, problems
from runs.ending import clear_errors
from videos.faces import CropSettings, extract_faces
from videos.folder import FRAMES, IMAGES, Finished


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


def faces(videos: Sequence[Path], folder: Path, settings: CropSettings) -> None:
    """Cuts the main face out of every frame of videos, and prints how many were found and how to read the folder.

    Args:
        videos: files, and folders of files.
        folder: where to write; see ``videos.faces``.
        settings: of detector and crops.

    Raises:
        VideoError: a video or the folder cannot be used, or the detector is not installed.
    """
    for video in extract_faces(videos, folder, settings):
        print(_found(video), flush=True)
    place = [f"data.root={folder}", f"data.images={IMAGES}", "split=test", f"data.test_list={FRAMES}"]
    print("read them with these arguments; the other tasks are data.task=va and data.task=au:")
    print(shlex.join(["data=affwild2_uni", *place, "data.task=expr"]))


def _found(video: Finished) -> str:
    """The line of one video."""
    holes = video.frames - video.frames_with_face
    text = f"{video.name}: {video.frames} frames, {video.frames_with_face} with the main face, {holes} without"
    if not video.frames_with_face:
        text += " (no face in the whole video: its folder is empty)"
    elif video.frames_with_others_only:
        text += f" ({video.frames_with_others_only} of them with another's, or far from where it was)"
    if video.lost:
        text += f"; {video.lost} frames are missing in its stream, by the times of the others"
    elif video.lost is None and video.sha256 is not None:
        text += "; its rate varies or is not told, so its pictures are counted: frame numbers are no times"
    # one more or less is usual
    if video.announced is not None and video.frames < 0.98 * video.announced - 1:
        text += f"; the container announces {video.announced} frames: is the file truncated?"
    return f"{text}; {video.frames / max(video.seconds, 0.1):.0f} frames/s"


def store(folder: Path) -> None:
    """Checks every file of a feature store, and prints how many parts are good.

    Args:
        folder: of the store.

    Raises:
        StoreError: it is no store, or something in it is wrong; a line for each part.
    """
    parts, wrong = problems(folder.expanduser())
    if wrong:
        raise StoreError("\n".join([f"{folder}: {len(wrong)} of {parts} parts cannot be used", *wrong]))
    print(f"{folder}: {parts} parts, all as they were written")


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line.

    Args:
        arguments: without the program's name; None: those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="prepare.py",
        description="Gets weights that the repository does not hold, faces out of videos; checks stores.",
    )
    command = parser.add_subparsers(required=True, dest="command", metavar="weights|faces|store")
    of_weights = command.add_parser("weights", help="list the published weights that are known by name, or fetch some")
    of_weights.add_argument("names", nargs="*", metavar="NAME", help="entries to fetch; none: list all")
    of_weights.add_argument("-v", "--verbose", action="store_true", help="list the details, too")
    _add_faces(command.add_parser("faces", help="cut the main face out of every frame of videos (extra: video)"))
    of_store = command.add_parser("store", help="check every file of a feature store against its checksum")
    of_store.add_argument("folder", type=Path, metavar="FOLDER", help="store= of extract.py")
    options = parser.parse_args(arguments)
    if options.command == "weights":
        weights(options.names, verbose=options.verbose)
    elif options.command == "store":
        store(options.folder)
    else:
        settings = CropSettings(options.size, options.margin, options.confidence, options.detection_size)
        faces(options.videos, options.out, settings)


def _add_faces(of_faces: argparse.ArgumentParser) -> None:
    usual = CropSettings()
    of_faces.add_argument(
        "videos",
        nargs="+",
        type=Path,
        metavar="VIDEO",
        help="files that FFmpeg decodes (mp4, mkv, …), or folders of them",
    )
    of_faces.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where to write, or to go on")
    of_faces.add_argument("--size", type=int, default=usual.size, help="side of the crops in pixels (%(default)s)")
    of_faces.add_argument(
        "--margin", type=float, default=usual.margin, help="added on each side, in sides of the face (%(default)s)"
    )
    of_faces.add_argument(
        "--confidence", type=float, default=usual.confidence, help="0..1, from which a face counts (%(default)s)"
    )
    of_faces.add_argument(
        "--detection-size", type=int, default=usual.detection_size, metavar="SIZE",
        help="longer side in pixels to which frames are scaled down for the search (%(default)s)",
    )  # fmt: skip


if __name__ == "__main__":
    with clear_errors():
        main()
