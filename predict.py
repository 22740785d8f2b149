"""Say what is seen in anybody's faces: ``python predict.py source=<video | picture | folder> checkpoint=…``.

runs/predict.py does the work, when the command line is right.
"""

from runs.command import command

if __name__ == "__main__":
    command("predict")
