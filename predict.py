"""Says which command makes a feature store now; the name is kept for predictions on somebody's videos."""

from __future__ import annotations

import shlex
import sys

if __name__ == "__main__":
    sys.exit(print(f"predict.py is extract.py now: python extract.py {shlex.join(sys.argv[1:])}", file=sys.stderr) or 2)
