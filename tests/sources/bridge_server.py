"""A stand-in for Micro-Manager's ZMQ server (PyJavaZ 5.1.0), with a real MMCore behind it; run as a process of its own.

Answers as the Java server was measured and read to answer (docs/micromanager.md): one REP socket and one thread for
each port, objects by hash code, a `new-port` that ends with its last object, a thread that dies of a message that is
not JSON. What proves it is that pycromanager's own client works with it (test_bridge_server.py).

    python bridge_server.py --camera demo|specimen|counting [--port N] [--frames N] [--exposure-ms T] [--size N]

prints `{"port": N}` when it listens and ends when its standard input is closed.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import zmq
from bridge_cores import CORES, JavaCore, Rectangle, TaggedImage

CORE, IMAGE, RECTANGLE = "mmcorej.CMMCore", "mmcorej.TaggedImage", "java.awt.Rectangle"
STRING = "java.lang.String"

Types = tuple[str, ...]

CORE_API: dict[str, list[tuple[Types, str]]] = {
    "clearCircularBuffer": [((), "void")],
    "getBytesPerPixel": [((), "long")],
    "getCameraDevice": [((), STRING)],
    "getCircularBufferMemoryFootprint": [((), "long")],
    "getExposure": [((), "double"), ((STRING,), "double")],
    "getImageBitDepth": [((), "long")],
    "getImageHeight": [((), "long")],
    "getImageWidth": [((), "long")],
    "getIncludeSystemStateCache": [((), "boolean")],
    "getNumberOfCameraChannels": [((), "long")],
    "getNumberOfComponents": [((), "long")],
    "getProperty": [((STRING, STRING), STRING)],
    "getROI": [((), RECTANGLE), (("int[]", "int[]", "int[]", "int[]"), "void"), ((STRING,), RECTANGLE)],
    "getRemainingImageCount": [((), "int")],
    "getShutterDevice": [((), STRING)],
    "getShutterOpen": [((STRING,), "boolean"), ((), "boolean")],
    "getVersionInfo": [((), STRING)],
    "hasProperty": [((STRING, STRING), "boolean")],
    "isBufferOverflowed": [((), "boolean")],
    "isSequenceRunning": [((), "boolean"), ((STRING,), "boolean")],
    "popNextImage": [((), "java.lang.Object")],
    "popNextTaggedImage": [(("int",), IMAGE), ((), IMAGE)],
    "setAutoShutter": [(("boolean",), "void")],
    "setCameraDevice": [((STRING,), "void")],
    "setCircularBufferMemoryFootprint": [(("long",), "void")],
    "setExposure": [(("double",), "void"), ((STRING, "double"), "void")],
    "setIncludeSystemStateCache": [(("boolean",), "void")],
    "setProperty": [
        ((STRING, STRING, value), "void") for value in ("boolean", "int", "float", "double", STRING)
    ],
    "setROI": [(("int", "int", "int", "int"), "void"), ((STRING, "int", "int", "int", "int"), "void")],
    "setShutterOpen": [(("boolean",), "void"), ((STRING, "boolean"), "void")],
    "snapImage": [((), "void")],
    "startContinuousSequenceAcquisition": [(("double",), "void")],
    "startSequenceAcquisition": [
        (("int", "double", "boolean"), "void"), ((STRING, "int", "double", "boolean"), "void")
    ],
    "stopSequenceAcquisition": [((STRING,), "void"), ((), "void")],
    "waitForDevice": [((STRING,), "void")],
}  # fmt: skip
OBJECT_API: dict[str, list[tuple[Types, str]]] = {
    "equals": [(("java.lang.Object",), "boolean")],
    "hashCode": [((), "int")],
    "toString": [((), STRING)],
    "wait": [((), "void"), (("long",), "void"), (("long", "int"), "void")],
}
APIS = {CORE: CORE_API | OBJECT_API, IMAGE: OBJECT_API, RECTANGLE: OBJECT_API}
FIELDS = {
    CORE: [],
    IMAGE: ["pix", "tags"],
    RECTANGLE: ["x", "y", "width", "height", "OUT_LEFT", "OUT_TOP", "OUT_RIGHT", "OUT_BOTTOM"],
}
ARRAYS = {"uint8": "byte-array", "uint16": "short-array", "int32": "int-array", "float32": "float-array"}
CASTS: dict[str, Callable[[Any], Any]] = {
    "int": int, "long": int, "short": int, "double": float, "float": float, "boolean": bool, STRING: str
}  # fmt: skip


class JavaError(Exception):
    """What Java throws in the server itself; the reply carries the stack as printStackTrace gives it."""


# the server


class Ports:
    """What all ports of the server share."""

    def __init__(self, core: JavaCore, version: str) -> None:
        self.core, self.version = core, version
        self.context = zmq.Context()


class Port:
    """One REP socket on loopback with a thread of its own; all but the first end with their last object."""

    def __init__(self, ports: Ports, number: int | None, is_main: bool) -> None:
        self._ports, self._is_main = ports, is_main
        self.objects: dict[str, Any] = {}
        self._socket = ports.context.socket(zmq.REP)
        self._place = socket.socket()  # kept free for us, not listening yet
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", number or 0))
        self.number = self._place.getsockname()[1]

    def start(self, after_s: float = 0.0) -> None:
        """As in Java the thread opens the port, which may be after a client was told of it."""
        opened = threading.Event()
        threading.Thread(target=self._serve, args=(after_s, opened), daemon=True).start()
        if not after_s:
            opened.wait()

    def _serve(self, after_s: float, opened: threading.Event) -> None:
        time.sleep(after_s)
        self._socket.bind(f"tcp://127.0.0.1:{self.number}")
        self._place.close()
        opened.set()
        while True:
            request = json.loads(self._socket.recv_multipart()[0].decode("iso-8859-1"))  # not JSON: the thread dies
            try:
                reply, binary = self._execute(request)
            except Exception as error:
                reply, binary = {"type": "exception", "value": printed_stack(error)}, None
            self._send(reply, binary)
            if not self._is_main and not self.objects:
                self._socket.close()
                return

    def _send(self, reply: dict[str, Any], binary: bytes | None) -> None:
        if binary is None:
            self._socket.send(encoded(reply))
            return
        number = secrets.randbits(31)  # Java's identityHashCode
        reply["value"] = f"[B@{number:x}"
        self._socket.send_multipart([encoded(reply), number.to_bytes(4, sys.byteorder), binary])

    def _execute(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes | None]:
        match request["command"]:
            case "connect":
                _ = request["debug"]
                return {"type": "none", "version": self._ports.version}, None
            case "get-constructors":
                return {"type": "none", "api": [{"name": known_class(request["classpath"]), "arguments": []}]}, None
            case "constructor":
                return self._construct(request), None
            case "run-method":
                return self._run(request)
            case "get-field":
                return self._serialize(getattr(self.objects[request["hash-code"]], field_of(request)))
            case "destructor":
                self.objects.pop(request["hash-code"], None)
                return {"type": "none"}, None
        raise JavaError("java.lang.RuntimeException: Unknown Command")

    def _construct(self, request: dict[str, Any]) -> dict[str, Any]:
        known_class(request["classpath"])
        _ = request["argument-types"], request["argument-deserialization-types"], request["arguments"]
        owner = self
        if request.get("new-port"):
            owner = Port(self._ports, None, is_main=False)
        reply = owner._describe(self._ports.core, CORE)
        if owner is not self:
            owner.start(after_s=0.05)
        return reply

    def _describe(self, found: Any, class_name: str) -> dict[str, Any]:
        key = f"{id(found):x}{uuid.uuid4()}"
        self.objects[key] = found
        api = [
            {"name": name, "return-type": returned, "arguments": list(types)}
            for name, overloads in APIS[class_name].items()
            for types, returned in overloads
        ]
        return {
            "type": "unserialized-object", "class": class_name, "hash-code": key, "port": self.number,
            "interfaces": [class_name, "java.lang.Object"], "fields": FIELDS[class_name], "api": api,
        }  # fmt: skip

    def _run(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes | None]:
        target = self.objects.get(request["hash-code"])
        if target is None or request["static"]:
            raise JavaError("java.lang.NullPointerException")
        name, types = request["name"], tuple(request["argument-types"])
        if types not in [known for known, _ in APIS[CORE].get(name, [])]:
            raise JavaError("java.lang.RuntimeException: No Matching method found with argument types")
        given = zip(request["argument-deserialization-types"], request["arguments"], strict=True)
        arguments = [CASTS[kind](value) for kind, value in given]
        try:
            return self._serialize(target.call(name, arguments))
        except Exception as error:
            traceback.print_exc()  # the Java server prints it too
            return {"type": "exception", "value": cause_stack(name, error)}, None

    def _serialize(self, value: Any) -> tuple[dict[str, Any], bytes | None]:
        match value:
            case None:
                return {"type": "none"}, None
            case str():
                return {"type": "string", "value": value}, None
            case bool() | int() | float():
                return {"type": "primitive", "value": value}, None
            case dict():
                return {"type": "object", "class": "JSONObject", "value": json.dumps(value)}, None
            case np.ndarray():
                return {"type": ARRAYS[value.dtype.name]}, value.tobytes()
            case TaggedImage():
                return self._describe(value, IMAGE), None
            case Rectangle():
                return self._describe(value, RECTANGLE), None
        raise JavaError(f"java.lang.RuntimeException: cannot serialize {type(value).__name__}")


def encoded(reply: dict[str, Any]) -> bytes:
    return json.dumps(reply, ensure_ascii=False).encode("iso-8859-1", errors="replace")


def known_class(class_path: str) -> str:
    if class_path != CORE:
        raise JavaError("java.lang.RuntimeException: Class not found on any classloaders")
    return class_path


def field_of(request: dict[str, Any]) -> str:
    return str(request["name"])


def printed_stack(error: Exception) -> str:
    words = str(error) if isinstance(error, JavaError) else f"java.lang.RuntimeException: {error!r}"
    return (
        f"{words}\n\tat org.micromanager.pyjavaz.ZMQServer.parseAndExecuteCommand(ZMQServer.java:501)\n"
        "\tat org.micromanager.pyjavaz.ZMQServer.lambda$initialize$1(ZMQServer.java:131)\n"
    )


def cause_stack(method: str, error: Exception) -> str:
    words = " ".join(map(str, error.args)) or repr(error)
    return (
        f"java.lang.Exception: {words}\nmmcorej.MMCoreJJNI.CMMCore_{method}(Native Method)\n"
        f"mmcorej.CMMCore.{method}(CMMCore.java:1184)\n"
        "sun.reflect.NativeMethodAccessorImpl.invoke0(Native Method)\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--camera", choices=CORES, default="demo")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--version", default="5.1.0")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--exposure-ms", type=float, default=4.0)
    parser.add_argument("--period-ms", type=float, default=2.0, help="between frames of the counting camera")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=3)
    given = parser.parse_args()
    main_port = Port(Ports(JavaCore(CORES[given.camera](given)), given.version), given.port or None, is_main=True)
    main_port.start()
    print(json.dumps({"port": main_port.number}), flush=True)
    sys.stdin.read()  # whoever started us is gone
    os._exit(0)


if __name__ == "__main__":
    main()
