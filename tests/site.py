"""The site as a process of its own, and a browser-like client for it."""

import contextlib
import http.cookiejar
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.plain_environment import PLAIN
from tests.ports import Reserved

ROOT = Path(__file__).resolve().parent.parent


def environment(**variables: object) -> dict[str, str]:
    """Flasky's defaults and these; nothing of the machine's own settings."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": "/nonexistent",
        "PYTHONWARNINGS": "default",
        **PLAIN,
        "NOTIFY_DISPATCH": "thread",
        "NOTIFY_FORM_SECONDS": "0",  # Browser types faster than people
        "FLASKY_URL": "http://127.0.0.1:8000",
        **{name: str(value) for name, value in variables.items()},
    }


def manage(*arguments: str, seconds: float = 60, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a management command to its end."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def template_database(folder: Path) -> Path:
    """A migrated, empty SQLite file to copy from."""
    unfinished = folder / "unfinished.sqlite3"
    done = manage("migrate", "--verbosity", "0", DATABASE_URL=f"sqlite:///{unfinished}")
    assert done.returncode == 0, done.stderr
    return unfinished.rename(folder / "template.sqlite3")


class Site:
    """Runs the site on a free port of 127.0.0.1 with its own environment; several starts keep port and database."""

    def __init__(self, folder: Path, variables: Mapping[str, object]) -> None:
        self.variables = dict(variables)
        self._reserved = Reserved()
        self.port = self._reserved.number
        self.url = f"http://127.0.0.1:{self.port}/"
        self._log = folder / "site.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *command: str, seconds: float = 20) -> "Site":
        """Start it, by default under runserver, and wait until it answers. `{port}` in the command is the port."""
        words = command or (sys.executable, "manage.py", "runserver", "--noreload", "127.0.0.1:{port}")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [word.format(port=self.port) for word in words],
                cwd=ROOT,
                env=environment(**self.variables),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.wait_until_it_answers(seconds)

    def wait_until_it_answers(self, seconds: float = 20) -> "Site":
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}livez", timeout=5):
                    return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"the site did not start:\n{self.output()}")

    def manage(self, *arguments: str, **variables: object) -> subprocess.CompletedProcess[str]:
        """A management command on the site's database and settings."""
        return manage(*arguments, **{**self.variables, **variables})

    def children(self) -> list[int]:
        """The ids of the processes that serve, where the one that was started forks them."""
        assert self._process
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    @contextlib.contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Another process on the site's database and settings, killed in the end; it writes to the site's output."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(**self.variables), stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def send_signal(self, number: signal.Signals, *, group: bool = True) -> None:
        """To every process of it, as a terminal does, or to the one that was started."""
        assert self._process
        (os.killpg if group else os.kill)(self._process.pid, number)

    def end(self, number: signal.Signals, *, group: bool) -> int:
        """Send the signal and wait for the end; returns the exit code."""
        assert self._process
        self.send_signal(number, group=group)
        process, self._process = self._process, None
        return process.wait(40)

    def kill(self) -> None:
        """SIGKILL to every process of it."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, as a service manager ends it; returns the exit code."""
        return self._end(signal.SIGTERM)

    def discard(self) -> None:
        """Kill it and give its port back."""
        self.kill()
        self._reserved.release()

    def output(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            os.killpg(process.pid, number)
        return process.wait(40)


class Browser:
    """Cookies, the hidden fields of the page, and redirects followed: what a visitor's browser does."""

    def __init__(self, site: Site) -> None:
        self._url = site.url
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )

    def get(self) -> str:
        with self._opener.open(self._url, timeout=30) as answer:
            page: str = answer.read().decode()
        return page

    def post(self, name: str) -> str:
        """Type a name and press the button; the page that comes back, whatever its status."""
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)"', self.get()))
        assert {"csrfmiddlewaretoken", "served"} <= set(hidden)
        fields = urllib.parse.urlencode({**hidden, "name": name, "website": ""}).encode()
        try:
            with self._opener.open(self._url, fields, timeout=30) as answer:
                page: str = answer.read().decode()
        except urllib.error.HTTPError as error:
            page = error.read().decode()
        return " ".join(re.sub(r"<[^>]+>", "", page).split())
