#!/usr/bin/env sh
# Opens Rimo in the browser; `./rimo.sh train --help` and the like run its other verbs.
cd "$(dirname "$0")" || exit 1
# export RIMO_TORCH=cpu      # or cuda, rocm, mps: which PyTorch is installed
for python in "${PYTHON:-}" python3.13 python3.12 python3.11 python3.10 python3 python
do
  if [ -n "$python" ] && command -v "$python" >/dev/null
  then
    if [ $# -eq 0 ]; then set -- ui; fi
    exec "$python" -m lib_rimo "$@"
  fi
done
echo "Rimo needs Python 3.10 to 3.13: install one and run this again." >&2
exit 1
