"""The one base of all errors that end in a message instead of a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """An error that the user can fix. Its message names the file, the line or the key, and says what to do."""
