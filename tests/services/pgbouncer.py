"""PgBouncer from Debian: a pool that gives each transaction whichever session of PostgreSQL is free."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests import ports, servers
from tests.waiting import until

CONFIG = """
[databases]
* = host=127.0.0.1 port=5432 user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
"""


@contextlib.contextmanager
def pgbouncer(folder: Path, *, sessions: int) -> Iterator[int]:
    """The port of one before the PostgreSQL of this machine, with so many sessions for all its clients."""
    with ports.reserved() as port:
        config = folder / "pgbouncer.ini"
        config.write_text(CONFIG.format(port=port, sessions=sessions))
        config.chmod(0o644)
        user = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to be root
        process = subprocess.Popen(
            [servers.program("pgbouncer"), "-q", *user, str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: ports.answers(port) or process.poll() is not None)
            assert process.poll() is None, "PgBouncer did not start"
            yield port
        finally:
            process.terminate()
            process.wait(10)
