"""Make a feature store: ``python extract.py backbone=…|checkpoint=… store=… data=…``.

runs/extract.py does the work, when the command line is right.
"""

from runs.command import command

if __name__ == "__main__":
    command("extract")
