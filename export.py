"""Write a network for other programs: ``python export.py checkpoint=… to=onnx|safetensors``.

runs/export.py does the work, when the command line is right.
"""

from runs.command import command

if __name__ == "__main__":
    command("export")
