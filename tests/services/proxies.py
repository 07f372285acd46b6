"""SOCKS and HTTP proxies from Debian, each a private instance on a free port of 127.0.0.1."""

import contextlib
import getpass
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests import ports, servers
from tests.waiting import until

DANTE = """
logoutput: stderr
errorlog: stderr
internal: 127.0.0.1 port = {port}
external: lo
clientmethod: none
socksmethod: none
user.privileged: {user}
user.unprivileged: {user}
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks {verdict} {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
"""
TINYPROXY = "Port {port}\nListen 127.0.0.1\nTimeout 30\nMaxClients 10\nBasicAuth user right\n"


@contextlib.contextmanager
def microsocks(*options: str) -> Iterator[int]:
    """`microsocks("-u", "user", "-P", "password")`: its port."""
    with ports.reserved() as port:
        where = ("-i", "127.0.0.1", "-p", str(port))
        with _running(port, servers.program("microsocks"), *where, *options):
            yield port


@contextlib.contextmanager
def dante(folder: Path, *, verdict: str = "pass") -> Iterator[int]:
    """The port of one that lets everybody through, or with `verdict="block"` nobody."""
    with ports.reserved() as port:
        config = folder / "danted.conf"
        config.write_text(DANTE.format(port=port, user=getpass.getuser(), verdict=verdict))
        with _running(port, servers.program("danted"), "-f", str(config), "-p", str(folder / "danted.pid"), "-N", "1"):
            yield port


@contextlib.contextmanager
def tinyproxy(folder: Path) -> Iterator[int]:
    """An HTTP proxy for user:right."""
    with ports.reserved() as port:
        config = folder / "tinyproxy.conf"
        config.write_text(TINYPROXY.format(port=port))
        with _running(port, servers.program("tinyproxy"), "-d", "-c", str(config)):
            yield port


@contextlib.contextmanager
def _running(port: int, *command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: ports.answers(port) or process.poll() is not None, said=lambda: f"{command[0]} does not listen")
        assert process.poll() is None, f"{command[0]} ended"
        yield
    finally:
        process.terminate()
        process.wait(10)
