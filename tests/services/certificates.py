"""A certificate, for loopback by default, and the authority that a client must trust for it."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme

LOOPBACK = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Certificate:
    """PEM files: `authority` is for the client (SSL_CERT_FILE), `chain` (with the private key) for the server."""

    authority: Path
    chain: Path


def issue(folder: Path, *, names: tuple[str, ...] = LOOPBACK, not_after: datetime | None = None) -> Certificate:
    """A certificate for the names, signed by an authority made for it alone."""
    authority = trustme.CA()
    made = Certificate(folder / "authority.pem", folder / "chain.pem")
    authority.cert_pem.write_to_path(str(made.authority))
    issued = authority.issue_cert(*names, not_after=not_after)
    issued.private_key_and_cert_chain_pem.write_to_path(str(made.chain))
    return made
