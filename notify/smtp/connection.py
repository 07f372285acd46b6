"""One SMTP session: connects, secures, logs in, and hands a message over in as few packets as the server allows."""

import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Sequence
from typing import ClassVar, cast

from notify.smtp import dial
from notify.smtp.envelope import Envelope, commands
from notify.smtp.failure import decode, marked, printable
from notify.smtp.login import Login
from notify.smtp.seven_bit import seven_bit

Refusals = dict[str, tuple[int, bytes]]
# Commands in one packet: their answers must fit into the buffers on the way, or both sides wait (RFC 2920 3.1).
PIPELINE_LIMIT = 100
_EXTENSION = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9-]*)(?![^\s=])[\s=]*(.*)")


class Connection(Login):
    """`connect_to` opens, `transact` sends one message, `leave` ends. `last_reply`: the relay's last words."""

    last_reply = ""
    out_of_step: ClassVar[set[str]] = set()  # relays that lost their place when an envelope came with a body
    _ahead: Envelope | None = None  # sent with the last body, while its answers have not been read

    def connect_to(self, host: str, port: int, *, proxy: str = "", tls: ssl.SSLContext | None = None) -> None:
        """Connect, with TLS from the first byte where a context is given, and hear the greeting."""
        # The name that certificates are checked against: without the dot of a fully qualified one (RFC 6066 3).
        self._host, self._port = host.removesuffix("."), port
        self._relay = f"{host}:{port}"
        if proxy:
            with self.phase("proxy") as say:
                self.sock = dial.connect_through(proxy, host, port, self.deadline)
                say(f"connected to {host}:{port}")
        else:
            with self.phase("dns") as say:
                addresses = dial.resolve(host, port, self.deadline)
                say(", ".join(dict.fromkeys(str(address[4][0]) for address in addresses)))
            with self.phase("connect") as say:
                self.sock = dial.connect(addresses, self.deadline)
                say("{}:{}".format(*self.sock.getpeername()[:2]))
        if tls:
            with self.phase("tls") as say:
                self._begin_tls(tls)
                say(describe_tls(self.sock))
        with self.phase("greeting") as say:
            code, text = self.getreply()
            if code != 220:
                raise smtplib.SMTPConnectError(code, text)
            say(f"{code} {decode(text)}")

    def ehlo(self, name: str = "") -> tuple[int, bytes]:
        code, text = super().ehlo(name)
        if self.esmtp_features:
            self.esmtp_features = extensions(text)
        return code, text

    def introduce(self) -> None:
        """EHLO, or HELO where that is not understood; once. Raises SMTPHeloError."""
        if self.ehlo_resp is not None or self.helo_resp is not None:
            return
        with self.phase("ehlo") as say:
            code, text = self.ehlo()
            if code >= 500:
                code, text = self.helo()
            if not positive(code):
                raise smtplib.SMTPHeloError(code, text)
            say(", ".join(sorted(self.esmtp_features)) or "no extensions")

    def secure(self, context: ssl.SSLContext) -> None:
        """STARTTLS, the certificate verified. Raises SMTPNotSupportedError where it is not offered: no downgrade."""
        self.introduce()
        with self.phase("tls") as say:
            if "starttls" not in self.esmtp_features:
                raise smtplib.SMTPNotSupportedError("STARTTLS extension not supported by server.")
            code, text = self.docmd("STARTTLS")
            if code != 220:
                raise smtplib.SMTPResponseException(code, text)
            if self._buffer:
                # Bytes from before TLS are not the server's word (CVE-2011-0411).
                raise smtplib.SMTPServerDisconnected("the server spoke on before TLS began")
            self._begin_tls(context)
            # Nothing that was heard before TLS counts (RFC 3207 4.2).
            self.ehlo_resp = self.helo_resp = None
            self.esmtp_features = {}
            say(describe_tls(self.sock))
        self.introduce()

    def _begin_tls(self, context: ssl.SSLContext) -> None:
        """The handshake, within what is left of the deadline."""
        self._arm()
        self.sock = context.wrap_socket(cast("socket.socket", self.sock), server_hostname=self._host)
        self._armed = None

    def transact(self, envelope: Envelope, data: bytes, *, following: Envelope | None = None) -> Refusals:
        """Send one message (CRLF line ends, no dots stuffed); returns the recipients refused while others were taken.

        The envelope of the message that follows travels with this body where the relay takes that (RFC 2920 3.1).
        An eight-bit message is re-encoded in seven bits for a relay without 8BITMIME (RFC 6152), or ValueError raised.
        Raises SMTPSenderRefused, SMTPRecipientsRefused (all of them), SMTPDataError, SMTPServerDisconnected,
        TimeoutError. Phase `end` without a reply means: all was transferred, and the outcome is unknown (RFC 1047).
        """
        if envelope.eight_bit and "8bitmime" not in self.esmtp_features:
            data = seven_bit(data)
            envelope = envelope._replace(size=len(data), eight_bit=False)
        ahead, self._ahead = self._ahead, None
        if ahead not in (None, envelope):
            self.close()
            raise marked(smtplib.SMTPServerDisconnected("the relay has the envelope of another message"), "sender")
        try:
            refused = self._converse(envelope, pipelined=ahead is not None)
        except OSError as error:
            if ahead:
                self._check_place(error)
            raise
        body = data.replace(b"\r\n.", b"\r\n..")
        if body.startswith(b"."):
            body = b"." + body
        with self.phase("data"):
            end = b".\r\n" if body.endswith(b"\r\n") else b"\r\n.\r\n"
            self.send(body + end + self._announcement(following))
        try:
            code, text = self._reply_to(b"", "end")
        except OSError:  # silent or gone, perhaps for what came with the body: not once more
            if self._ahead:
                self.out_of_step.add(self._relay)
            raise
        if not positive(code):
            raise marked(smtplib.SMTPDataError(code, text), "end")
        self.last_reply = f"{code} {decode(text)}"
        return refused

    def answers(self) -> bool:
        return not self._ahead and super().answers()

    def leave(self) -> None:
        if self._ahead:  # the relay waits for a body, and would take QUIT for one
            self.close()
        super().leave()

    def _announcement(self, following: Envelope | None) -> bytes:
        """The commands to send with a body: b"" where there is nothing to announce, or this relay takes none there."""
        if following is None or "pipelining" not in self.esmtp_features or self._relay in self.out_of_step:
            return b""
        if following.eight_bit and "8bitmime" not in self.esmtp_features:  # its size is not known yet
            return b""
        try:
            asked = commands(self.esmtp_features, following)
        except smtplib.SMTPException:  # an error of the next message, in its own turn
            return b""
        if len(asked) > PIPELINE_LIMIT:
            return b""
        self._ahead = following
        return b"".join(asked)

    def _check_place(self, error: OSError) -> None:
        """Raises SMTPServerDisconnected in phase `sender` where the answers to an envelope sent ahead do not fit.

        Nothing of that message was sent, so it may be tried on a new connection, where nothing is sent ahead.
        """
        code = _first_code(error)
        if not (code in (-1, 421, 554) or 500 <= code < 505):
            return
        if code != 421:
            self.out_of_step.add(self._relay)
        if not isinstance(error, TimeoutError):
            raise marked(smtplib.SMTPServerDisconnected(f"the relay lost its place: {error}"), "sender") from error

    def ask(self, sender: str, recipients: Sequence[str]) -> Refusals:
        """Ask for sender and recipients and take it back before DATA: nothing is sent."""
        mail, *asked, _ = commands(self.esmtp_features, Envelope(sender, recipients))
        self._name_sender(sender, mail)
        answers = {
            recipient: self._reply_to(command, "recipient", recipient)
            for recipient, command in zip(recipients, asked, strict=True)
        }
        with contextlib.suppress(OSError):
            self.rset()
        return {recipient: answer for recipient, answer in answers.items() if not positive(answer[0])}

    def _converse(self, envelope: Envelope, *, pipelined: bool) -> Refusals:
        """From MAIL to the 354 of DATA; in one packet where the server takes that (PIPELINING, RFC 2920).

        `pipelined`: the commands were sent ahead, with the body of the message before.
        """
        sender, recipients = envelope.sender, envelope.recipients
        sent = [b""] * (len(recipients) + 2)
        mail, *asked, data = sent if pipelined else commands(self.esmtp_features, envelope)
        if not pipelined and "pipelining" in self.esmtp_features and len(sent) <= PIPELINE_LIMIT:
            with self.phase("sender"):
                self.send(b"".join([mail, *asked, data]))
            pipelined, (mail, *asked, data) = True, sent
        refused: Refusals = {}
        answered = 1
        try:
            self._name_sender(sender, mail)
            for recipient, command in zip(recipients, asked, strict=True):
                code, text = self._reply_to(command, "recipient", recipient)
                answered += 1
                if not positive(code):
                    refused[recipient] = (code, text)
                    if code == 421:
                        break
            if len(refused) == len(recipients) or code == 421:
                raise marked(smtplib.SMTPRecipientsRefused(refused), "recipient")
            answered += 1
            code, text = self._reply_to(data, "data")
            if code // 100 != 3:
                raise marked(smtplib.SMTPDataError(code, text), "data")
        except (smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError):
            with contextlib.suppress(OSError):
                self._back_in_step(pipelined, answered, len(sent))
            raise
        return refused

    def _back_in_step(self, pipelined: bool, answered: int, asked: int) -> None:
        """After a refusal: hear the answers that are still under way, and forget the transaction."""
        if pipelined:
            codes = [self.getreply()[0] for _ in range(asked - answered)]
            if codes and codes[-1] == 354:  # DATA was accepted although no recipient is left (RFC 2920 3.1)
                self.send(b".\r\n")
                self.getreply()
        self.rset()

    def _name_sender(self, sender: str, mail: bytes) -> None:
        code, text = self._reply_to(mail, "sender")
        if not positive(code):
            raise marked(smtplib.SMTPSenderRefused(code, text, sender), "sender")

    def _reply_to(self, command: bytes, phase: str, recipient: str = "") -> tuple[int, bytes]:
        """The reply to a command; b"" for one that was sent before. What it says is reported if it is positive."""
        with self.phase(phase) as say:
            if command:
                self.send(command)
            code, text = self.getreply()
            if self._observer and positive(code):
                say(f"{recipient}: {code} {decode(text)}" if recipient else f"{code} {decode(text)}")
        return code, text


def extensions(reply: bytes) -> dict[str, str]:
    """What an EHLO reply offers: keyword in lower case → parameters. Neither case (RFC 5321 2.4) nor spacing counts.

    What is offered twice is offered once; mechanisms of AUTH, in upper case, add up, also those of `AUTH=LOGIN`.
    """
    found: dict[str, str] = {}
    for line in reply.decode("latin-1").split("\n")[1:]:
        if match := _EXTENSION.match(line):
            keyword, words = match[1].lower(), match[2].split()
            if keyword == "auth":
                added = f"{found.get('auth', '')} {match[2]}".upper().replace("=", " ").split()
                words = list(dict.fromkeys(added))
            found[keyword] = " ".join(words)
    return found


def positive(code: int) -> bool:
    """Whether a reply means yes: its first digit says it, the others only how (RFC 5321 4.2)."""
    return code // 100 == 2


def _first_code(error: OSError) -> int:
    """The code of a refusal; -1 where there was no answer."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return next(iter(error.recipients.values()))[0]
    return int(getattr(error, "smtp_code", -1))


def describe_tls(sock: object) -> str:
    """`TLSv1.3, TLS_AES_256_GCM_SHA384, certificate of smtp.example.com until Jan  1 00:00:00 2030 GMT`."""
    if not isinstance(sock, ssl.SSLSocket):
        return ""
    certificate = sock.getpeercert() or {}
    cipher = sock.cipher()
    names = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    return (
        f"{sock.version()}, {cipher[0] if cipher else ''}, "
        f"certificate of {printable(names[0][1]) if names else 'no name'} until {certificate.get('notAfter')}"
    )
