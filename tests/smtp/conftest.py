"""The backend under test, and an authority whose certificates it trusts."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from notify.smtp.backend import EmailBackend

CANARY = "k4n4r!enV0gel"  # a password that must be seen nowhere
Make = Callable[..., EmailBackend]


@pytest.fixture
def make_backend() -> Iterator[Make]:
    """`make_backend(port, **options)`: for 127.0.0.1, without login and TLS; closed at the end."""
    made: list[EmailBackend] = []

    def make(port: int, **options: Any) -> EmailBackend:
        plain = {"host": "127.0.0.1", "username": "", "password": "", "use_tls": False, "use_ssl": False, "timeout": 5}
        backend = EmailBackend(**{**plain, "port": port, "alias": "transport", "local_hostname": "me.test", **options})
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.close()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this test trust the authority, as an operator would: by SSL_CERT_FILE."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))


@pytest.fixture
def server_tls(authority: trustme.CA) -> Callable[..., ssl.SSLContext]:
    """A server's TLS with a certificate for the names: `server_tls("localhost")`."""

    def make(*names: str, **options: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*names, **options).configure_cert(context)
        return context

    return make
