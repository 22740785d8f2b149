"""Compare runs or tables, with intervals over videos: ``python compare.py 'runs=[a,b]'|'tables=[…]'|sweep=…``.

runs/compare.py does the work, when the command line is right.
"""

from runs.command import command

if __name__ == "__main__":
    command("compare")
