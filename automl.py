"""Train LightAutoML on stored features, or predict with it: ``python automl.py data.store=… task=…``.

runs/automl.py does the work, when the command line is right.
"""

from runs.command import command

if __name__ == "__main__":
    command("automl")
