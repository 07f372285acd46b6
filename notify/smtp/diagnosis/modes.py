"""Which TLS mode a port really uses: found by trying, when the configured one was not answered."""

import ssl
from typing import Any

from django.utils.translation import gettext as _

from notify.smtp.connection import Connection
from notify.smtp.diagnosis.causes import Diagnosis
from notify.smtp.failure import Failure

PROBE_SECONDS = 5.0


def advice(failure: Failure, known: Diagnosis | None, options: dict[str, Any]) -> str:
    """What to set, where the failure looks like a mistaken TLS mode and another one answers; else "". Tries them."""
    if "host" not in options or "CERTIFICATE_VERIFY_FAILED" in failure.text:
        return ""  # no mail server; or the mode is right, and the certificate is not
    configured = "ssl" if options.get("use_ssl") else "tls" if options.get("use_tls") else "plain"
    broken = failure.phase in ("greeting", "ehlo", "tls") and (failure.code is None or failure.phase == "tls")
    if not broken and not (known and known.id == "auth-not-offered" and configured == "plain"):
        return ""
    advised = {
        "ssl": _("Port %d uses TLS from the first byte: set MAIL_USE_SSL=true and MAIL_USE_TLS=false."),
        "tls": _("Port %d starts unencrypted and offers STARTTLS: set MAIL_USE_TLS=true and MAIL_USE_SSL=false."),
        "plain": _(
            "Port %d is unencrypted and offers no TLS: set MAIL_USE_TLS=false and MAIL_USE_SSL=false if you trust that "
            "network, or use another port of the mail server."
        ),
    }
    host, port, proxy = str(options["host"]), int(options["port"]), str(options.get("proxy") or "")
    for mode, words in advised.items():
        if mode != configured and _answers(mode, host, port, proxy):
            return words % port
    return ""


def _answers(mode: str, host: str, port: int, proxy: str) -> bool:
    context = None
    if mode == "ssl":
        # Only to learn whether it uses TLS: neither a login nor mail is sent over it.
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
