"""The face renderer behind ``data=synthetic``, which draws faces in the layouts of Aff-Wild2 and AffectNet."""

from typing import Final

RENDERER_VERSION: Final = "3"
"""Changed whenever the same seed gives other pixels or labels; part of the cache path and of every table."""
