"""An S3-compatible server on this machine (moto's) that counts what is asked of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class Server:
    """A running server and what it has sent."""

    url: str
    gets: list[tuple[str, int]] = field(default_factory=list)  # (path, bytes of the answer)

    def put(self, local: Path, remote: str) -> str:
        """Upload a file or folder to `bucket/...`; returns its address."""
        import s3fs

        store = s3fs.S3FileSystem(use_listings_cache=False)
        for path in [local] if local.is_file() else sorted(p for p in local.rglob("*") if p.is_file()):
            inner = "" if path == local else f"/{path.relative_to(local).as_posix()}"
            store.put_file(str(path), remote + inner)
        return f"s3://{remote}"

    def counted(self, app: Wsgi) -> Wsgi:
        """The application, with each GET noted."""

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            body = b"".join(app(environ, start))
            if environ["REQUEST_METHOD"] == "GET":
                self.gets.append((environ["PATH_INFO"], len(body)))
            return [body]

        return answer


@contextmanager
def serving() -> Iterator[Server]:
    """Empty; the environment of this process and its children must have `KEYS` and AWS_ENDPOINT_URL."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    server = Server("")
    http = make_server("127.0.0.1", 0, server.counted(DomainDispatcherApplication(create_backend_app)), threaded=True)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join(30)
        http.server_close()
