"""Wraps the WSGI and ASGI applications: drops the parameters of a Content-Type with an extended one (RFC 2231).

Django decodes them before any middleware runs, and an unknown charset is a ValueError there.
"""

from collections.abc import Callable, Iterable
from typing import Any


def wsgi(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["CONTENT_TYPE"] = _plain(environ.get("CONTENT_TYPE") or "")
        return application(environ, start_response)

    return wrapped


def asgi(application: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapped(scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = [
            (name, _plain(value.decode("latin-1")).encode("latin-1") if name.lower() == b"content-type" else value)
            for name, value in scope.get("headers", [])
        ]
        await application({**scope, "headers": headers}, receive, send)

    return wrapped


def _plain(value: str) -> str:
    return value.partition(";")[0] if "*" in value else value
