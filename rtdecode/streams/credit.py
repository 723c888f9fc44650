"""What the two ends of an acknowledged stream say to each other besides frames: small CBOR maps with a `type`.

The sender puts an envelope, the list [epoch, number], before each event of the wire. An epoch begins with the start
message, number 0, and numbers are consecutive in it; so a message that the network lost is told from a frame that the
camera lost. The receiver answers with credit {epoch, next, window}: frames below `next` are safe with it and will never
be asked for again; `window` frames more may be on their way. Whatever went wrong, the receiver says restart {epoch} and
the sender begins a new epoch at `next`: nothing acknowledged is lost, and what comes twice is dropped by its number.
"""

from __future__ import annotations

import secrets
from typing import Any

from rtdecode.core.errors import StreamError
from rtdecode.streams.cbor import decode, encode
from rtdecode.streams.wire import Buffer

MAX_CONTROL_BYTES = 4096
REPEAT_S = 0.5  # start until it is answered, alive while nothing else is said
SILENT_S = 5.0  # an end that said nothing for so long is taken for gone


def new_epoch() -> int:
    """A number that no epoch before had."""
    return secrets.randbits(48)


def envelope(epoch: int, number: int) -> bytes:
    """What stands before an event, as a part of its own: short, since it is read for every frame."""
    return encode([epoch, number])


def control(kind: str, **fields: Any) -> bytes:
    """One control message."""
    return encode({"type": kind} | fields)


def read_control(part: Buffer) -> dict[str, Any]:
    """Inverse of `control` and `envelope`; other fields are checked by whoever uses them. Raises StreamError."""
    if len(part) > MAX_CONTROL_BYTES:
        raise StreamError(f"a control message of {len(part)} bytes, at most {MAX_CONTROL_BYTES} are taken")
    fields = decode(part)
    match fields:
        case [int(epoch), int(number)]:
            return {"type": "frame", "epoch": epoch, "number": number}
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise StreamError("a control message that is no map with a type")
    return fields
