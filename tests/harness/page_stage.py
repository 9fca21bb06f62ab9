"""A stand-in for the observer's routes: it plays a feed that a test writes, and keeps what is posted."""

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

from tests.harness.namespaces import ROOT

from draftwire.runtime.errors import DraftwireError

PAGE: Final = ROOT / "nodes" / "observer" / "page"
TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

Message: TypeAlias = dict[str, Any]


class NoPageError(DraftwireError):
    """Raised when the stage is asked for what is no file of the page; a test sees it as a failed request."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """What the server plays, and what it has heard; a test changes and reads it while the page runs."""

    opening: Message
    "the first message of each connection"
    url: str = ""
    link_answer: tuple[int, Message] = (200, {})
    "to POST /link"
    ask_answers: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    "path -> status and chunks of the answer; a stream where there are several"
    ask_waits: threading.Event = field(default_factory=threading.Event)
    "while it is not set, a stream stays open behind its first chunk"
    refusal: int | None = None
    "a status that the feed answers instead"
    orders: list[Message] = field(default_factory=list)
    asked: list[tuple[str, Message]] = field(default_factory=list)
    left: int = 0
    "streams of answers that the page broke off"
    chosen: list[str | None] = field(default_factory=list)
    "the device of each connection to the feed"
    _feeds: list[queue.SimpleQueue[Message | None]] = field(default_factory=list)

    def say(self, **message: Any) -> None:
        """Send a message to each page that listens."""
        for feed in list(self._feeds):
            feed.put({"full": False, **message})

    def drop(self) -> None:
        """End all connections to the feed; the page may come again."""
        for feed in list(self._feeds):
            feed.put(None)

    @property
    def listeners(self) -> int:
        """Connections to the feed that are open."""
        return len(self._feeds)


@contextmanager
def played(opening: Message) -> Iterator[Stage]:
    """A stage on a port of its own, until the block ends."""
    stage = Stage(opening=opening)
    stage.ask_waits.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(stage))
    server.daemon_threads = True
    stage.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="stage")
    thread.start()
    try:
        yield stage
    finally:
        stage.ask_waits.set()
        stage.drop()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler_of(stage: Stage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            split = urlsplit(self.path)
            if split.path == "/feed":
                self._feed(parse_qs(split.query).get("device", [None])[0])
            else:
                name = "index.html" if split.path == "/" else split.path.removeprefix("/page/")
                self._file(name)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["Content-Type"] == "application/json"
            if self.path == "/link":
                stage.orders.append(body)
                status, answer = stage.link_answer
                self._whole(status, "application/json", json.dumps(answer).encode())
            else:
                stage.asked.append((self.path, body))
                self._answer(*stage.ask_answers[self.path])

        def _file(self, name: str) -> None:
            path = PAGE / name
            if path.parent != PAGE or not path.is_file():
                self._whole(404, "text/plain", b"")
                raise NoPageError(f"the page has no file {name}")
            self._whole(200, TYPES[path.suffix], path.read_bytes())

        def _whole(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", "default-src 'self'")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def _begin_stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()

        def _feed(self, device: str | None) -> None:
            stage.chosen.append(device)
            if stage.refusal is not None:
                self._whole(stage.refusal, "text/plain", b"")
                return
            self.close_connection = True
            self._begin_stream()
            said: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
            message: Message | None = {"full": True, **stage.opening}
            stage._feeds.append(said)
            try:
                self.wfile.write(b"retry: 200\n\n")
                while message is not None:
                    self.wfile.write(b"data: " + json.dumps(message).encode() + b"\n\n")
                    message = said.get()
            except OSError:
                pass
            finally:
                stage._feeds.remove(said)

        def _answer(self, status: int, chunks: list[str]) -> None:
            if status != 200:
                self._whole(status, "application/json", "".join(chunks).encode())
                return
            self.close_connection = True
            self._begin_stream()
            try:
                for chunk in chunks:
                    self.wfile.write(f"data: {chunk}\n\n".encode())
                    while not stage.ask_waits.wait(0.02):
                        self.wfile.write(b": waiting\n\n")
            except OSError:
                stage.left += 1

    return Handler


__all__ = ["PAGE", "Message", "NoPageError", "Stage", "played"]
