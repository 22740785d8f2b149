"""The face renderer behind ``data=synthetic``: drawn faces in the layouts of Aff-Wild2 and AffectNet."""

from typing import Final

RENDERER_VERSION: Final = "3"
"""Changes whenever the same seed would give other pixels or labels; part of the cache path and of every table."""
