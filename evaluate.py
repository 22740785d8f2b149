"""Score a checkpoint or prediction tables: ``python evaluate.py checkpoint=…|predictions=[…] data=…``.

runs/evaluate.py does the work, when the command line is right.
"""

from runs.command import command

if __name__ == "__main__":
    command("evaluate")
