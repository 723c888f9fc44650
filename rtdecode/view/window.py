"""`rtdecode view RUN`: opens the window, or says clearly why it cannot. Qt is loaded inside the functions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rtdecode.core.errors import ViewerError
from rtdecode.core.extras import install, is_there
from rtdecode.core.quality import QualityFilter
from rtdecode.streams.run_folder import RunFolder
from rtdecode.view.canvas import ColourScale


class EventLoop(Protocol):
    """What `qt_fault` needs of a QApplication."""

    def processEvents(self) -> None:  # noqa: N802 (Qt's name)
        """Handle what is waiting."""
        ...


if TYPE_CHECKING:
    from rtdecode.view.main_window import RunWindow
    from rtdecode.view.window_region import Measure

DEBIAN_PACKAGES = "libegl1 libgl1 libxkbcommon0 libfontconfig1 libdbus-1-3 libglib2.0-0"  # all that offscreen needs
DEBIAN_SCREEN_PACKAGES = "libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxkbcommon-x11-0"
PROBE_S = 60.0  # a first import of Qt from a slow disk takes its time
_PROBE = "import PySide6.QtWidgets as q; q.QApplication([]); import pyqtgraph"


def screen_problem() -> str | None:
    """Why no viewer can open here, with what to do about it; None when it can.

    On Linux Qt is tried out in a process of its own, for a Qt that finds no screen ends its process.
    Not tested on Windows and macOS, where only the installation is checked.
    """
    missing = [name for name in ("PySide6", "pyqtgraph") if not is_there(name)]
    if missing:
        return f"the viewer needs {' and '.join(missing)}, not installed here; {install('view')}"
    if not sys.platform.startswith("linux"):
        return None
    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")):
        return (
            "no screen: neither DISPLAY nor WAYLAND_DISPLAY is set. Open the run on a machine with a screen "
            "(a copy of the run folder will do), use `ssh -X`, or look at picture.png in the run folder"
        )
    return _probe()


def view(
    run_dir: Path,
    quality: QualityFilter | None = None,
    scale: ColourScale | None = None,
    measure: Measure | None = None,
) -> int:
    """Show a run, live or finished, until the window is closed; returns the exit status 0.

    RunFolderError: no run there. ViewerError: no screen or no Qt; the message says what to do.
    """
    RunFolder.open(run_dir)
    window = open_window(run_dir, quality, scale, measure)
    from rtdecode.view.main_window import make_application

    signal.signal(signal.SIGINT, lambda *_: window.close())  # seen at the next refresh, 0.25 s at most
    return int(make_application().exec())


def open_window(
    run_dir: Path,
    quality: QualityFilter | None = None,
    scale: ColourScale | None = None,
    measure: Measure | None = None,
) -> RunWindow:
    """The window of a run, shown; the caller runs Qt's event loop. Works before the folder holds anything.

    `quality` limits what is drawn (None: as the model recommends), `scale` the depths that the colours span (None:
    found from the first 2,000 localizations), `measure` gives the resolution of a region. ViewerError as in `view`.
    """
    problem = screen_problem()
    if problem is not None:
        raise ViewerError(problem)
    from rtdecode.view.main_window import RunWindow, make_application

    fault = qt_fault(make_application())
    if fault is not None:
        raise ViewerError(fault)
    window = RunWindow(run_dir, quality, scale, measure)
    window.show()
    return window


def qt_fault(application: EventLoop) -> str | None:
    """Whether this PySide6 would end the process after some minutes, as 6.12.0 does with Python 3.11.

    It gives back one reference to None too many at every call into Python; at zero Python aborts. From
    Python 3.12 on None has no count. Cost: 50 empty event rounds.
    """
    if sys.version_info >= (3, 12):
        return None
    before = sys.getrefcount(None)
    for _ in range(50):
        application.processEvents()
    if before - sys.getrefcount(None) < 40:
        return None
    return (
        "this PySide6 miscounts references and would end the viewer after some minutes (6.12.0 with Python 3.11 "
        'does). Install another: pip install "PySide6-Essentials<6.12"'
    )


def _probe() -> str | None:
    """Start Qt in another process and hear what it says."""
    try:
        done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        return f"Qt did not start within {PROBE_S:g} s; is the screen reachable?"
    if done.returncode == 0:
        return None
    said = " ".join(done.stderr.split())[-600:] or f"exit status {done.returncode}"
    return (
        f"Qt cannot start here: {said}. On Debian or Ubuntu install "
        f"`apt install {DEBIAN_PACKAGES} {DEBIAN_SCREEN_PACKAGES}`; or look at picture.png in the run folder"
    )
