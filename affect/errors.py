"""The errors that end in a message instead of a traceback; all have one base."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(ValueError):
    """An error that the user can fix. Its message names the file, the line or the key, and says what to do."""

    def __str__(self) -> str:
        """Return the message; bytes of names that are not UTF-8 are escaped, so that it can be printed."""
        return super().__str__().encode("utf-8", "backslashreplace").decode()


class ConfigError(UserError):
    """One message that lists every error found in a configuration.

    Args:
        errors: the errors, each naming its key.
        where: what they were found in.
    """

    def __init__(self, errors: Sequence[str], where: str = "the configuration") -> None:
        lines = "\n".join(f"  - {error}" for error in errors)
        super().__init__(f"{len(errors)} error{'s' * (len(errors) > 1)} in {where}:\n{lines}")


class OldCommandError(UserError):
    """A command line of an earlier version; the message is the command of this one."""


class DataError(UserError):
    """Files with data or predictions that cannot be used; the message names the file, the line and the fix."""


def refuse(error: DataError, faults: list[DataError] | None) -> None:
    """Raise an error; or note it where all faults are asked for, so that the reading goes on.

    Args:
        error: what a reader has found.
        faults: of the data so far; None: the first ends the reading.
    """
    if faults is None:
        raise error
    faults.append(error)


class CheckpointError(UserError):
    """A checkpoint that cannot be read or does not fit."""


class WeightsError(UserError):
    """Weights cannot be found, cannot be read safely, or do not fit the network. The message says what to do."""
