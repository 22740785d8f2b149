"""Gives hostile files to the framework, in a worker's process."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from .hostile import SECRET, Case, Place
from .outcomes import named


def try_case(case: Case, valid: Path, scratch: Path, errors: tuple[type[BaseException], ...]) -> dict[str, str]:
    """Makes a hostile file, gives it to the framework, and looks for what it has done."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    place = Place(folder / "hostile", folder / "canary", folder / "elsewhere", valid / "made", folder / "output")
    shutil.copytree(place.made / "run", place.run)
    place.elsewhere.mkdir()
    os.environ[SECRET] = "a-secret"
    sys.path.append(str(folder))  # as the repository holds logs/
    try:
        case.attack(place)
        result, said = ("same", "") if case.harmless else ("another", "read and used")
    except errors as error:
        message = " ".join(str(error).split())
        result = "refused" if named(message, place.run, place.output, folder) else "nameless"
        said = f"{type(error).__name__}: {message}"
    except (Exception, SystemExit) as error:
        result, said = "traceback", f"{type(error).__name__}: {error}"
    finally:
        sys.path.remove(str(folder))
    if place.canary.exists() or place.canary.is_symlink():
        result, said = "code", "the canary is there"
    elif any(place.elsewhere.iterdir()):
        result, said = "code", f"written elsewhere: {sorted(file.name for file in place.elsewhere.iterdir())}"
    elif os.environ[SECRET] in said or _found(place.output, os.environ[SECRET]):
        result, said = "code", "the environment was looked up"
    shutil.rmtree(folder)
    told = "" if result in ("same", "refused") else f"{case.name}: {said}".replace(str(folder), "…")
    return {"outcome": result, "told": told[:400]}


def _found(folder: Path, secret: str) -> bool:
    return any(secret in file.read_text(errors="replace") for file in folder.rglob("*.yaml") if file.is_file())
