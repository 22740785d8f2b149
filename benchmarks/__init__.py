"""Speed beside plain code (here), and studies of what the methods are worth (``benchmarks.studies``)."""

from pathlib import Path

# the studies' names of earlier versions, as in `python -m benchmarks.abaw5`, still run them
__path__.append(str(Path(__file__).parent / "studies"))
