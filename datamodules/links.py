"""Follow links below the folders of a data set that stay inside, and refuse those that lead out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from affect.errors import DataError


class Links:
    """Refuses links that lead out of the folders of the data. A folder that was given may itself be a link.

    Args:
        roots: the folders that were given, each one or several; a link from one into another is followed.
        follow_outside: follow every link.
    """

    def __init__(self, *roots: str | Path | Sequence[str] | None, follow_outside: bool) -> None:
        self.follow_outside = follow_outside
        self._roots: list[Path] = []
        self._real: list[str] = []
        self._known: set[Path] = set()
        for given in roots:
            for root in [given] if isinstance(given, str | Path) else given or ():
                self._add(Path(root).expanduser())

    def enter(self, folder: Path) -> Path:
        """Check a folder that the configuration names; one that lies elsewhere without a link becomes a further root.

        Returns:
            The folder.

        Raises:
            DataError: a link on the way from its root leads out.
        """
        self.check(folder)
        if not self._is_inside(os.path.realpath(folder)):
            self._add(folder)
        return folder

    def check(self, path: Path) -> None:
        """Check every link on the way from a root to a file or folder below it; asks the disk once for each folder.

        Raises:
            DataError: one leads out of the roots.
        """
        if self.follow_outside:
            return
        for root in self._roots:
            if path.is_relative_to(root):
                at = root
                for part in path.relative_to(root).parts:
                    at = at / part
                    if at not in self._known:
                        self._known.add(at)
                        self._check_link(at)
                return

    def check_files(self, folder: Path, names: Iterable[str]) -> None:
        """Check the files of a folder that are links, as its listing says, in the order of their names.

        Raises:
            DataError: one leads out of the roots.
        """
        if not self.follow_outside:
            for name in sorted(names):
                self._check_link(folder / name)

    def _add(self, root: Path) -> None:
        self._roots.append(root)
        self._real.append(os.path.realpath(root))

    def _check_link(self, path: Path) -> None:
        if os.path.islink(path) and not self._is_inside(real := os.path.realpath(path)):
            raise DataError(
                f"{path} is a link that leads out of the data's folder, to {real}. Set data.follow_outside=true to "
                "follow such links, or remove it."
            )

    def _is_inside(self, real: str) -> bool:
        return any(Path(real).is_relative_to(root) for root in self._real)
