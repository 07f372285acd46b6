"""Connecting to the relay: name look-up, connection, proxy, all within one deadline."""

import base64
import contextlib
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import python_socks
from django.core.mail.utils import DNS_NAME
from python_socks.sync import Proxy

from notify.smtp.failure import decode, printable
from notify.smtp.secret import Secret, hush

Result = TypeVar("Result")
OWN_NAME_SECONDS = 5.0
_own_names: list[str] = []  # of this machine, in the order found; the last one is the best
_HEADER_LIMIT = 8192  # bytes of a CONNECT reply
_CONNECTED = re.compile(rb"HTTP/[0-9.]+ +2[0-9][0-9]( |$)")  # RFC 9112 4
_UNREACHABLE = (0x01, 0x03, 0x04, 0x05, 0x06)  # SOCKS: general failure, network, host, refused, TTL expired


class ProxyFailed(ConnectionError):
    """The proxy is down, refused, or could not reach the relay. It is never bypassed.

    Fix: see whether MAIL_PROXY (or ALL_PROXY) is right and the proxy runs; MAIL_PROXY=direct goes without.
    """

    phase = "proxy"


class Deadline:
    """A moment on the monotonic clock, `seconds` from now; None means never."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Seconds left, for a socket's timeout. Raises TimeoutError when there are none."""
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"not finished within {self.seconds:g} s")
        return left


def bounded(
    deadline: Deadline, function: Callable[..., Result], *args: Any, discard: Callable[[Result], None] = lambda _: None
) -> Result:
    """The function's result, or TimeoutError when the deadline comes first; a later result is given to `discard`."""
    seconds = deadline.remaining()
    future: Future[Result] = Future()

    def run() -> None:
        try:
            result = function(*args)
        except BaseException as error:  # noqa: BLE001  (it is raised again in the caller's thread)
            with contextlib.suppress(InvalidStateError):
                future.set_exception(error)
            return
        try:
            future.set_result(result)
        except InvalidStateError:  # cancelled below
            discard(result)

    try:
        threading.Thread(target=run, daemon=True, name="dial").start()
    except RuntimeError:
        # Python 3.12 starts no thread while it ends, and a command that stored a mail still delivers it then.
        return function(*args)
    wait([future], seconds)
    if future.cancel():
        raise TimeoutError(f"no answer within {deadline.seconds:g} s")
    return future.result()


def own_name() -> str:
    """This machine's full name, for EHLO. Looked up once per process, waiting five seconds at most.

    If that is not enough, or there is none, its short name; the full one is used as soon as it is found.
    Call it before anything is claimed: the lease of a message does not allow for it.
    """
    if not _own_names:
        with contextlib.suppress(OSError, ValueError):
            bounded(Deadline(OWN_NAME_SECONDS), _find_full_name)
        name = socket.gethostname()
        _own_names.insert(0, name if name and name.isascii() else "localhost")
    return _own_names[-1]


def _find_full_name() -> None:
    name = str(DNS_NAME)  # as Django finds it
    if name and name.isascii():
        _own_names.append(name)


def resolve(host: str, port: int, deadline: Deadline) -> list[tuple[Any, ...]]:
    """The addresses of a host, as socket.getaddrinfo gives them. Raises socket.gaierror, naming the host."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)  # nothing to look up, so nothing to wait for
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    try:
        return bounded(deadline, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except socket.gaierror as error:
        raise socket.gaierror(error.errno, f"{error.strerror}: {host}") from error
    except UnicodeError as error:  # an empty label, or one that is too long
        raise socket.gaierror(socket.EAI_NONAME, f"Not a host name: {host}") from error


def connect(addresses: list[tuple[Any, ...]], deadline: Deadline) -> socket.socket:
    """A connection to the first address that accepts one; each gets a share of the remaining time."""
    problem: OSError | None = None
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        left = deadline.remaining()
        sock = None
        try:
            sock = socket.socket(family, kind, protocol)  # fails where the machine has no IPv6
            sock.settimeout(None if left is None else max(left / (len(addresses) - number), 0.1))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            if sock:
                sock.close()
            place = f"{address[0]}:{address[1]}"
            if isinstance(error, TimeoutError):
                problem = TimeoutError(f"{place} did not answer within {deadline.seconds:g} s")
            else:
                problem = type(error)(error.errno, f"{error.strerror} ({place})")
        else:
            return sock
    raise problem or OSError("the name has no address")


def connect_through(proxy: str, host: str, port: int, deadline: Deadline) -> socket.socket:
    """A connection to host:port through a proxy, which resolves the name. Raises ProxyFailed.

    `proxy`: socks5://, socks5h:// or http://[user:password@]host[:port], user and password percent-encoded.
    """
    # What is raised here has neither cause nor frames below: those hold user and password, and error pages show them.
    try:
        scheme, at, login = _parsed(proxy)
        place = "{}:{}".format(*at)
        if scheme == "http":
            return _http_connect(at, login, host, port, deadline)
        if login and not "".join(login).isascii():
            raise ProxyFailed(f"proxy {place}: user and password for SOCKS can only be ASCII")
        user, password = login or (None, None)
        # rdns: both spellings, socks5 and socks5h, leave the name to the proxy.
        client = Proxy(python_socks.ProxyType.SOCKS5, *at, username=user, password=password, rdns=True)
        return bounded(deadline, client.connect, host, port, deadline.remaining(), discard=socket.socket.close)
    except ProxyFailed as error:
        raise error.with_traceback(None) from None
    except python_socks.ProxyError as error:
        raise ProxyFailed(f"proxy {place}: {_socks_reason(error, host, port)}") from None
    except OSError as error:
        raise ProxyFailed(f"proxy {place}: {printable(str(error))}") from None
    except (ValueError, RuntimeError) as error:  # an answer that is not SOCKS
        raise ProxyFailed(f"proxy {place}: {type(error).__name__}") from None


def _parsed(proxy: str) -> tuple[str, tuple[str, int], tuple[str, Secret] | None]:
    """Scheme, host and port, user and password or None. Raises ProxyFailed for an invalid address."""
    with contextlib.suppress(ValueError):
        parsed = urlsplit(str(proxy))
        scheme, ports = parsed.scheme, {"socks5": 1080, "socks5h": 1080, "http": 80}
        if scheme in ports and parsed.hostname:
            login = (unquote(parsed.username), Secret(unquote(parsed.password or ""))) if parsed.username else None
            return scheme, (parsed.hostname, parsed.port or ports[scheme]), login
    raise ProxyFailed("not the address of a proxy: write socks5://, socks5h:// or http://host:port")


def _socks_reason(error: python_socks.ProxyError, host: str, port: int) -> str:
    """The SOCKS reply (RFC 1928 6) in words that say whether the proxy failed or could not reach the relay."""
    words = printable(str(error))
    if error.error_code in _UNREACHABLE:
        return f"it answers, but cannot reach {host}:{port}: {words} (SOCKS reply 0x{error.error_code:02X})"
    code = f" (SOCKS reply 0x{error.error_code:02X})" if error.error_code else ""
    return f"it refused: {words}{code}; asked for {host}:{port}"


def _http_connect(
    at: tuple[str, int], login: tuple[str, str] | None, host: str, port: int, deadline: Deadline
) -> socket.socket:
    """CONNECT (RFC 9110 9.3.6). Read byte by byte: the relay's greeting may come in the same packet."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if login:
        request += f"Proxy-Authorization: Basic {base64.b64encode(':'.join(login).encode()).decode()}\r\n"
    sock = connect(resolve(*at, deadline), deadline)
    try:
        sock.settimeout(deadline.remaining())
        sock.sendall(f"{request}\r\n".encode())
        header = b""
        while not header.endswith(b"\r\n\r\n"):
            sock.settimeout(deadline.remaining())
            byte = sock.recv(1)
            header += byte
            if not byte or len(header) > _HEADER_LIMIT:
                raise ProxyFailed("proxy {}:{} did not answer in HTTP".format(*at))
        status = header.split(b"\r\n", 1)[0]
        if not _CONNECTED.match(status):
            # Where there is no password the user is a token.
            words = decode(hush(status.decode("utf-8", "surrogateescape"), [login[1] or login[0]] if login else []))
            raise ProxyFailed("proxy {}:{}: {}; asked for {}".format(*at, words, target))
    except BaseException:
        sock.close()
        raise
    return sock
