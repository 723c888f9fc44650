"""The one tree of errors: each name says what is wrong, each message what was found, expected and what to do."""

from __future__ import annotations


class RtdecodeError(Exception):
    """Root of every error that rtdecode raises on purpose; the command line prints it as one clear message."""


class ConfigError(RtdecodeError):
    """A configuration file or option is wrong; the message names file, line, key, what was found and expected."""


class BundleError(RtdecodeError):
    """A model bundle is missing, foreign, cut short or of another version."""


class CameraMismatch(RtdecodeError):
    """The recording's camera differs from the bundle's; both values are named."""


class CalibrationError(RtdecodeError):
    """Beads or a PSF cannot be used: too few, too close to the rim, no focus in the stack."""


class SourceError(RtdecodeError):
    """Frames cannot be had from where they were asked for."""


class RecordingError(SourceError):
    """A recording on disk is empty, truncated, colour, of changing size, or not frames at all."""


class SourceLost(SourceError):
    """The camera or its server is gone; frames read before it remain valid."""


class FormatChanged(SourceError):
    """A frame came with another size or type than the run began with."""


class EndOfStream(SourceError):
    """The source has delivered its last frame; not a fault."""


class EngineError(RtdecodeError):
    """The inference engine that was asked for is missing, refused the graph or gave values that are not finite."""


class StreamError(RtdecodeError):
    """What crosses a process wall is broken: ring, log, run folder or door."""


class RingError(StreamError):
    """The shared frame ring is missing, foreign or cut short."""


class RingLapped(StreamError):
    """The writer overtook this reader; the frames between are lost in the ring and must be counted.

    `count` frames were lost to this reader, with camera indices from `first_index` to `last_index`;
    `indices` lists them where the ring still knows (else None and the bounds are those around them).
    """

    def __init__(
        self, message: str, count: int, first_index: int, last_index: int, indices: tuple[int, ...] | None = None
    ) -> None:
        super().__init__(message)
        self.count = count
        self.first_index = first_index
        self.last_index = last_index
        self.indices = indices


class LogError(StreamError):
    """The localization log is foreign or damaged beyond its uncommitted tail."""


class RunFolderError(StreamError):
    """The run folder exists already, is missing, or is not a run."""


class DoorError(StreamError):
    """The session's door cannot be reached or got a message it does not know."""


class FileFormatError(RtdecodeError):
    """A localization or truth file is not what its format says; the message names file and line."""


class TrainingError(RtdecodeError):
    """A training cannot start or go on: foreign checkpoint, losses that are not finite."""


class PluginError(RtdecodeError):
    """A plug-in named by `use:` cannot be loaded or does not have the methods of its contract."""


class ViewerError(RtdecodeError):
    """The viewer cannot open: Qt is not installed, or there is no screen."""
