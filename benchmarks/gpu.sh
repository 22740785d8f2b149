#!/usr/bin/env bash
# Figures of this machine's GPU, a JSON line for each row, the most important first; six minutes at most, nothing is installed.
#     PYTHON=python3 bash benchmarks/gpu.sh [FOLDER OF PICTURES] [options of every row: --toy --steps 20]
set -uo pipefail
cd "$(dirname "$0")/.."
export HF_HUB_OFFLINE=1 NO_ALBUMENTATIONS_UPDATE=1
python=${PYTHON:-python}
root=()
rows=(emma plain-emma cotex plain-cotex mae plain-mae emma-compiled cotex-compiled)
if [[ $# -gt 0 && $1 != --* ]]; then
  root=(--root "$1"); shift
  rows=(emma plain-emma cotex plain-cotex input mae plain-mae emma-compiled cotex-compiled)
fi
"$python" -m benchmarks.gpu check || exit 1
end=$((SECONDS + 340))
for row in "${rows[@]}"; do
  left=$((end - SECONDS))
  most=90
  [[ $row == *-compiled ]] && most=150 # compiling takes minutes
  limit=$((left < most ? left : most))
  if ((limit < 5)); then echo "{\"row\": \"$row\", \"failed\": \"no time left\"}"; continue; fi
  timeout "$limit" "$python" -m benchmarks.gpu "$row" "${root[@]}" "$@" 2>"/tmp/benchmarks-gpu-$row.log" ||
    echo "{\"row\": \"$row\", \"failed\": \"exit status $?, see /tmp/benchmarks-gpu-$row.log\"}"
done
