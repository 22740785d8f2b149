"""Says which command makes a feature store now; the name is kept for predictions on somebody's videos."""

from __future__ import annotations

import shlex
import sys

from runs.earlier import new_words

if __name__ == "__main__":
    print(f"predict.py is extract.py now: python extract.py {shlex.join(new_words(sys.argv[1:]))}", file=sys.stderr)
    sys.exit(2)
