"""A private Exim on free ports of 127.0.0.1: its own configuration, spool and Maildir, nothing of the system's."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests import ports, servers
from tests.services.certificates import issue
from tests.services.maildir import Maildir

OWNER = "Debian-exim"
CONFIGURATION = """
exim_path = {program}
spool_directory = {base}/spool
log_file_path = {base}/log/%slog
pid_file_path = {base}/spool/exim.pid
primary_hostname = mx.example.test
local_interfaces = 127.0.0.1
disable_ipv6
daemon_smtp_ports = {port} : {tls_port}
tls_on_connect_ports = {tls_port}
tls_advertise_hosts = *
tls_certificate = {chain}
keep_environment =
acl_smtp_mail = sender
acl_smtp_rcpt = recipient
begin acl
sender:
  deny condition = {login_needed}
       !authenticated = *
       message = 5.7.0 Authentication required
  accept
recipient:
  deny local_parts = nobody
       message = 5.1.1 No such user here
  defer local_parts = later
       message = 4.2.1 Mailbox busy, try again later
  accept
begin routers
all:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {maildir}
  user = {owner}
  envelope_to_add
  return_path_add
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if eq{{$auth3}}{{${{lookup{{$auth2}}lsearch{{{base}/etc/users}}{{$value}}fail}}}}}}
  server_set_id = $auth2
  server_advertise_condition = ${{if def:tls_in_cipher}}
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = ${{if eq{{$auth2}}{{${{lookup{{$auth1}}lsearch{{{base}/etc/users}}{{$value}}fail}}}}}}
  server_set_id = $auth1
  server_advertise_condition = ${{if def:tls_in_cipher}}
"""


class Exim:
    """Takes mail on `port` (STARTTLS offered) and `tls_port` (TLS at once) for the length of a `with` block.

    With `users` (name to password) only who has logged in may send, and a login is offered under TLS only. A client
    must trust `authority`. nobody@ anywhere is refused with 550, later@ with 451; all else lands in one Maildir.
    """

    def __init__(self, folder: Path, *, users: Mapping[str, str] | None = None) -> None:
        self._reserved = [ports.Reserved(), ports.Reserved()]
        self.port, self.tls_port = (port.number for port in self._reserved)
        self._folder = folder
        self._users = users or {}
        self.maildir = Maildir(folder / "mail" / "inbox", self.log)

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in (self._folder / "log").glob("*"))

    def __enter__(self) -> "Exim":
        for name in ("etc", "spool", "log", "mail"):
            (self._folder / name).mkdir(parents=True)
        certificate = issue(self._folder / "etc")
        self.authority = certificate.authority
        users, configuration = self._folder / "etc" / "users", self._folder / "etc" / "exim.conf"
        users.write_text("".join(f'"{name}": {password}\n' for name, password in self._users.items()))
        for path in (self._folder / "spool", self._folder / "log", self._folder / "mail", certificate.chain, users):
            shutil.chown(path, OWNER, OWNER)
        configuration.write_text(
            CONFIGURATION.format(
                program=servers.exim(),
                base=self._folder,
                maildir=self.maildir.folder,
                chain=certificate.chain,
                port=self.port,
                tls_port=self.tls_port,
                login_needed="yes" if self._users else "no",
                owner=OWNER,
            )
        )
        configuration.chmod(0o644)
        with (self._folder / "log" / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [servers.exim(), "-C", str(configuration), "-bdf"],
                env={"PATH": os.environ["PATH"]},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            if ports.answers(self.port) and ports.answers(self.tls_port):
                return self
            time.sleep(0.05)
        self._end()
        raise AssertionError(f"Exim did not start\n{self.log()}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        # At once, with whatever still holds a connection: nothing may write into the folder afterwards.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)
        for port in self._reserved:
            port.release()
