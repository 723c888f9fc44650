#!/usr/bin/env bash
# Set up .venv for `make demo` (no torch) or `make test` (everything), and the system libraries that Qt needs.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:?usage: tools/setup.sh demo|test}
python=${PYTHON:-python3}
venv=.venv

say() { printf '\n== %s\n' "$*"; }

"$python" - <<'PY' || { echo "rtdecode needs Python 3.11 or newer; name one: make PYTHON=python3.11 $what" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY

apt_install() { # as root on Debian and its kin; elsewhere the packages are named and left to the user
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing system packages: $*"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
  else
    echo "these system packages are missing: $* (Debian: sudo apt-get install $*)" >&2
    return 1
  fi
}

if [ ! -x "$venv/bin/python" ]; then
  say "creating $venv"
  "$python" -m venv "$venv" 2>/dev/null || { rm -rf "$venv"; apt_install python3-venv; "$python" -m venv "$venv"; }
fi

say "installing rtdecode and what it needs for: $what"
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
"${pip[@]}" install -q --upgrade "pip>=24"
if [ "$what" = test ]; then
  # This exact release first: a bare `torch` would pull several GB of CUDA libraries on Linux.
  "$venv/bin/python" -c 'import torch' 2>/dev/null || "${pip[@]}" install -q "torch==2.13.0"
  "${pip[@]}" install -q -e ".[train,micromanager,view,test]"
else
  "${pip[@]}" install -q -e ".[micromanager,view]"
fi

if [ "$(uname -s)" = Linux ]; then
  qt_loads() { QT_QPA_PLATFORM=offscreen "$venv/bin/python" -c 'from PySide6 import QtGui, QtWidgets' 2>/dev/null; }
  if ! qt_loads; then
    packages="libegl1 libgl1 libxkbcommon0 libfontconfig1 libdbus-1-3 libglib2.0-0"
    [ -z "${DISPLAY:-}" ] || packages="$packages libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxkbcommon-x11-0"
    if apt_install $packages && qt_loads; then :; elif [ "$what" = test ]; then
      echo "the viewer's tests need Qt's system libraries: $packages" >&2; exit 1
    else
      echo "going on without the viewer" >&2
    fi
  fi
fi

touch "$venv/.demo-ready"
[ "$what" = demo ] || touch "$venv/.test-ready"
say "ready"
