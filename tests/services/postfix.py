"""A private Postfix on a free port of 127.0.0.1: its own configuration, queue and Maildir, nothing of the system's."""

import pwd
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tests import ports
from tests.services.certificates import issue
from tests.services.maildir import Maildir

MAIN = """
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.test
mydestination =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains = example.com
virtual_mailbox_base = {base}/mail
virtual_mailbox_maps = static:inbox/
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_tls_chain_files = {chain}
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
maillog_file = {base}/postfix.log
maillog_file_prefixes = /tmp, /var
alias_maps =
alias_database =
"""
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{tls_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
postlog   unix-dgram n - n - 1 postlogd
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
tlsmgr    unix - - n 1000? 1 tlsmgr
"""


class Postfix:
    """Takes mail on `port` (STARTTLS offered) and `tls_port` (TLS at once) for the length of a `with` block.

    Mail to anybody at example.com lands in one Maildir. A client must trust `authority`. `parameters` go into main.cf.
    """

    def __init__(self, folder: Path, **parameters: str) -> None:
        self._reserved = [ports.Reserved(), ports.Reserved()]
        self.port, self.tls_port = (port.number for port in self._reserved)
        self._folder = folder
        self._config = folder / "etc"
        self.maildir = Maildir(folder / "mail" / "inbox", self.log)
        self._parameters = parameters

    def log(self) -> str:
        log = self._folder / "postfix.log"
        return log.read_text() if log.exists() else "(no log)"

    def __enter__(self) -> "Postfix":
        for name in ("etc", "data", "mail", "queue"):
            (self._folder / name).mkdir(parents=True)
        for name in ("data", "mail"):
            shutil.chown(self._folder / name, user="postfix")
        certificate = issue(self._config)
        self.authority = certificate.authority
        owner = pwd.getpwnam("postfix")
        main = MAIN.format(base=self._folder, uid=owner.pw_uid, gid=owner.pw_gid, chain=certificate.chain)
        # None twice: every daemon would log a warning, and that waits for the daemon that writes the log.
        lines = [line for line in main.splitlines() if line.partition(" = ")[0] not in self._parameters]
        lines += [f"{name} = {value}" for name, value in self._parameters.items()]
        (self._config / "main.cf").write_text("\n".join([*lines, ""]))
        (self._config / "master.cf").write_text(MASTER.format(port=self.port, tls_port=self.tls_port))
        self._run("start")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if ports.answers(self.port) and ports.answers(self.tls_port):
                return self
            time.sleep(0.1)
        self._end()
        raise AssertionError(f"Postfix did not start\n{self.log()}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        self._run("stop")
        for port in self._reserved:
            port.release()

    def _run(self, command: str) -> None:
        called = ["/usr/sbin/postfix", "-c", str(self._config), command]
        done = subprocess.run(called, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{done.stderr}\n{self.log()}"
