#!/usr/bin/env sh
# Opens Rimo in the browser; `./rimo.sh train --help` and the like run its other verbs.
cd "$(dirname "$0")" || exit 1
# export RIMO_TORCH=cpu      # or cuda, rocm, mps: which PyTorch is installed
if [ $# -eq 0 ]; then set -- ui; fi
if [ -n "${PYTHON:-}" ]; then exec "$PYTHON" -m lib_rimo "$@"; fi
for python in python3.13 python3.12 python3.11 python3.10 python3 python
do
  # Asked, since a name may be there that starts nothing (pyenv), or a version that is too old or new.
  if "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
  then exec "$python" -m lib_rimo "$@"
  fi
done
echo "Rimo needs Python 3.10 to 3.13: install one and run this again." >&2
exit 1
