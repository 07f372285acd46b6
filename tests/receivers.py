"""An HTTP server on loopback that keeps what it is sent, as a service for alerts or a heartbeat would get it."""

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """`with Receiver() as receiver`: listens on 127.0.0.1:receiver.port. `status` and `pause` shape its answers."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.status = 200
        self.pause = 0.0  # seconds before an answer
        self._came = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def wait_for(self, count: int, seconds: float = 30) -> list[Request]:
        """The requests, once there are so many; AssertionError when they do not come in time."""
        with self._came:
            if not self._came.wait_for(lambda: len(self.requests) >= count, seconds):
                raise AssertionError(f"{len(self.requests)} of {count} requests came within {seconds} s")
            return list(self.requests)

    def stays_at(self, count: int, seconds: float = 1.5) -> None:
        """No more than so many come for a while."""
        time.sleep(seconds)
        assert len(self.requests) == count, [request.body for request in self.requests[count:]]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with receiver._came:
                    receiver.requests.append(Request(self.command, self.path, dict(self.headers), body))
                    receiver._came.notify_all()
                time.sleep(receiver.pause)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            do_GET = do_PUT = do_POST

            def log_message(self, *args: Any) -> None:
                pass

        return Handler

    def __enter__(self) -> "Receiver":
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
