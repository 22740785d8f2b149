"""Train a method: ``python train.py experiment=emma data=affwild2_mtl data.root=…``; ``--help`` has the rest.

runs/train.py does the work, when the command line is right.
"""

from runs.command import command

if __name__ == "__main__":
    command("train")
