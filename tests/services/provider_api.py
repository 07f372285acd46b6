"""A mail provider's API on loopback: keeps what is posted and gives the answers that a test sets."""

import json
import threading
from collections.abc import Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Request(NamedTuple):
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> list[tuple[str, Any]]:
        """Names and values of multipart/form-data; of a file its part."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parsed = message_from_bytes(head + self.body, policy=policy.HTTP)
        found = []
        assert isinstance(parsed, EmailMessage)
        for part in parsed.iter_parts():
            name = part.get_param("name", header="content-disposition")
            found.append((str(name), part if part.get_filename() else bytes(part.get_payload(decode=True)).decode()))
        return found


class ProviderApi:
    """`answers`: status and body for each request in turn; the last one goes on. "" as a body: it never answers."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self._stop = threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                api.requests.append(Request(self.path, dict(self.headers), body))
                status, said = api.answers.pop(0) if len(api.answers) > 1 else api.answers[0]
                if said == "":
                    api._stop.wait(10)
                    return
                answer = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                """Nothing: the tests look at `requests`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> "ProviderApi":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
