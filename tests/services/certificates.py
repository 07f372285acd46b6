"""A certificate for loopback, and the authority that a client must trust for it."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """PEM files: `authority` is for the client (SSL_CERT_FILE), `chain` (with the private key) for the server."""

    authority: Path
    chain: Path


def issue(folder: Path) -> Certificate:
    """A certificate for localhost and 127.0.0.1, signed by an authority made for it alone."""
    authority = trustme.CA()
    made = Certificate(folder / "authority.pem", folder / "chain.pem")
    authority.cert_pem.write_to_path(str(made.authority))
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(made.chain))
    return made
