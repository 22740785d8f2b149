"""Search for the best values of some keys: ``python tune.py experiment=… 'KEY=interval(low,high)' tune.trials=20``.

``--help`` has the rest; runs/tuning.py does the work.
"""

from __future__ import annotations

import sys

from runs.config import check_command_line
from runs.ending import clear_errors
from runs.search_space import HELP, check_installed, read
from runs.slurm import is_first_process, queued_again

if __name__ == "__main__":
    with clear_errors(), queued_again(first=is_first_process()):
        if {"-h", "--help"} & {*sys.argv[1:]}:
            print(HELP)
        else:
            asked = read(sys.argv[1:])
            check_command_line("train", asked.example())
            check_installed()
            from runs.tuning import tune  # imports torch, which takes seconds

            tune(asked)
