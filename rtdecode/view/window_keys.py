"""Keys of the window, and the card that shows them."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets

KEYS = (
    ("Wheel, drag", "zoom about the pointer, pan"),
    ("Ctrl + / Ctrl -", "zoom in, out"),
    ("Arrows", "pan"),
    ("Home", "whole field"),
    ("", ""),
    ("1  2  3", "cumulative, window, both side by side"),
    ("Space", "play the run back"),
    ("L", "follow the newest frame"),
    ("", ""),
    ("R", "raw frame, localizations circled"),
    ("W", "wide field: sum of the frames"),
    ("F", "filter on or off"),
    ("D", "take the drift off, where it was measured"),
    ("C", "fit the colours to what is shown"),
    ("P", "pin the contrast"),
    ("+  -", "brighter, darker"),
    ("", ""),
    ("B  G", "draw a rectangle, a polygon"),
    ("Esc", "put the tool away; remove the region"),
    ("S  E", "snapshot; export"),
    ("Tab", "panel on or off"),
    ("H", "this list"),
)


class KeyCard(QtWidgets.QLabel):
    """All keys over the image, until the next click or H."""

    def __init__(self, parent: QtWidgets.QWidget) -> None:
        super().__init__(parent)
        rows = "".join(
            f"<tr><td style='padding: 2px 18px 2px 0'><b>{key}</b></td><td style='padding: 2px 0'>{what}</td></tr>"
            for key, what in KEYS
        )
        self.setText(f"<table>{rows}</table>")
        self.setStyleSheet("background: rgba(22, 24, 28, 235); border: 1px solid #3a3f49; padding: 14px;")
        self.hide()

    def toggle(self) -> None:
        """Show it in the middle, or hide it."""
        self.setVisible(self.isHidden())
        self.adjustSize()
        room = self.parentWidget().rect()
        self.move(room.center() - self.rect().center())
        self.raise_()

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Away with it."""
        self.hide()


def pan_step(key: int) -> tuple[float, float] | None:
    """Shares of the view for an arrow key: (right, down)."""
    keys = QtCore.Qt.Key
    steps = {
        keys.Key_Left: (-0.1, 0.0),
        keys.Key_Right: (0.1, 0.0),
        keys.Key_Up: (0.0, -0.1),
        keys.Key_Down: (0.0, 0.1),
    }
    return next((step for arrow, step in steps.items() if int(arrow) == key), None)
