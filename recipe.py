"""From features to a submission by one command: ``python recipe.py labels.root=… store=…``; ``--help`` has the rest.

runs/recipe.py does the work, when the command line is right.
"""

from __future__ import annotations

import sys

from runs.command import as_given
from runs.config import composed
from runs.ending import clear_errors
from runs.help import help_text

if __name__ == "__main__":
    with clear_errors():
        arguments = as_given("recipe", sys.argv[1:])
        text = help_text("recipe", arguments)
        if text is not None:
            print(text)
        else:
            config = composed("recipe", arguments)
            from runs.recipe import recipe  # imports torch, which takes seconds

            recipe(config)
