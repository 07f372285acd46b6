"""An authorization server on loopback, and nothing left in the process's cache."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from notify.oauth import configuration, tokens
from notify.oauth.configuration import Configuration
from tests.oauth.server import USER, OAuthServer


@pytest.fixture
def oauth() -> Iterator[OAuthServer]:
    with OAuthServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    yield
    tokens.forget()


@pytest.fixture
def configured(oauth: OAuthServer) -> Callable[..., Configuration]:
    """The configuration of the server's client, with other options: `configured(oauth_refresh_token=…)`."""

    def make(**options: Any) -> Configuration:
        found = configuration.from_options({"host": "127.0.0.1", "username": USER, **oauth.options, **options})
        assert found
        return found

    return make
