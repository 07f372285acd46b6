"""Which TLS mode a port really speaks: found out by trying, when the configured one was not answered."""

import ssl
from typing import Any

from notify.smtp.connection import Connection

PROBE_SECONDS = 5.0


def other_mode(options: dict[str, Any]) -> str:
    """Which TLS mode answers on this port, as advice; "" where the configured one does, or none. Tries them."""
    host, port, proxy = str(options["host"]), int(options["port"]), str(options.get("proxy") or "")
    configured = "ssl" if options.get("use_ssl") else "tls" if options.get("use_tls") else "plain"
    advice = {
        "ssl": f"Port {port} answers in TLS from the first byte: set MAIL_USE_SSL=true and MAIL_USE_TLS=false.",
        "tls": f"Port {port} answers in clear and offers STARTTLS: set MAIL_USE_TLS=true and MAIL_USE_SSL=false.",
        "plain": f"Port {port} answers in clear and offers no TLS: set MAIL_USE_TLS=false and MAIL_USE_SSL=false "
        "if that network is to be trusted, or use the relay's other port.",
    }
    for mode in ("ssl", "tls", "plain"):
        if mode != configured and _answers(mode, host, port, proxy):
            return advice[mode]
    return ""


def _answers(mode: str, host: str, port: int, proxy: str) -> bool:
    context = None
    if mode == "ssl":
        # Only to hear whether it speaks TLS: nothing is sent over it, no login and no mail.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = Connection(local_hostname="localhost", timeout=PROBE_SECONDS)
    try:
        connection.connect_to(host, port, proxy=proxy, tls=context)
        connection.introduce()
    except OSError:
        connection.close()
        return False
    offers = "starttls" in connection.esmtp_features
    connection.leave()
    return mode == "ssl" or offers == (mode == "tls")
