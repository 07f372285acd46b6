"""What floods a form: a script with one token and many posts."""

import contextlib
import http.client
import re
import threading
from collections.abc import Callable
from urllib.parse import urlencode

from tests.site import Site


class Poster:
    """One client of a site. `accepted` are the names the site said yes to."""

    def __init__(self, site: Site) -> None:
        self.accepted: list[str] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        self._headers: dict[str, str] = {}
        self._token = ""

    def post(self, name: str) -> None:
        """Post a name; AssertionError for another answer than the redirect, ConnectionError where none came."""
        if not self._token:
            self._get_token()
        body = urlencode({"csrfmiddlewaretoken": self._token, "name": name})
        status, _ = self._ask("POST", body)
        assert status == 302, f"{name}: {status}"
        self.accepted.append(name)

    def post_to_the_dying(self, name: str) -> None:
        """The same, where processes are killed: no answer is an answer too."""
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            self.post(name)

    def close(self) -> None:
        """The next post connects again."""
        self._connection.close()

    def _get_token(self) -> None:
        _, page = self._ask("GET")
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert found
        self._token = found[1]

    def _ask(self, method: str, body: str = "") -> tuple[int, str]:
        try:
            self._connection.request(method, "/", body, self._headers)
            answer = self._connection.getresponse()
            page = answer.read().decode()
        except (ConnectionError, http.client.HTTPException):
            self._connection.close()  # the next request opens it anew
            raise
        if not self._headers:
            cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
            self._headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        return answer.status, page


def together(count: int, work: Callable[[int], None]) -> None:
    """Run `work(0)`, `work(1)` … in a thread each, to the end of all. Raises the first failure."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
