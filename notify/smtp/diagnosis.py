"""Why a relay refused, in words: a failure → cause and fix. The most specific rule is first, and the first wins."""

import re
from dataclasses import dataclass

from notify.smtp.causes import CAUSES, Diagnosis
from notify.smtp.failure import PREPARE, Failure
from notify.smtp.providers import Provider

__all__ = ["Diagnosis", "diagnose", "known"]

NETEASE = ("163", "126", "yeah", "188", "vip163", "vip126", "163-enterprise")
_FOLD = re.compile(r"\s+(?:[245]\.\d{1,3}\.\d{1,3}\s+)?")


@dataclass(frozen=True)
class Rule:
    """All that is given must hold: a pattern found in the text, one of the codes, one of the phases.

    `providers`: names of presets (their first word is enough: ses for ses-eu-west-1). `other` adds: or none is known.
    """

    id: str
    pattern: str = ""
    codes: tuple[int, ...] = ()
    phases: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    other: bool = False
    broken: bool | None = None

    def fits(self, failure: Failure, text: str, provider: Provider | None) -> bool:
        return (
            (not self.codes or failure.code in self.codes)
            and (not self.phases or failure.phase in self.phases)
            and (self.broken is None or self.broken == failure.broken)
            and (not self.providers or self._is_of(provider))
            and bool(re.search(self.pattern, text, re.IGNORECASE))
        )

    def _is_of(self, provider: Provider | None) -> bool:
        if provider is None:
            return self.other
        return provider.name in self.providers or provider.name.split("-")[0] in self.providers


# ruff: noqa: E501  (tables: a row is a line)
# fmt: off
_REPLIES: tuple[Rule, ...] = (
    # Google
    Rule("app-password-required", r"application-specific password required|app-specific password|5\.7\.9 .*app(lication)? password", (534, 535)),
    Rule("browser-login", r"log in (through|with|via) your web browser", (534, 535)),
    Rule("gmail-credentials", r"username and password not accepted", (535,)),
    Rule("auth-twice", r"no identity changes permitted", (503,)),
    Rule("same-message-id", r"same message-id", (421, 450, 451, 550)),
    # Quotas and rates
    Rule("daily-quota", r"daily .{0,60}(limit|quota).{0,20} exceeded|exceeded .{0,30}daily .{0,30}(limit|quota)"),
    Rule("daily-quota", r"^5\.4\.5\b", (550,)),
    Rule("daily-quota", r"^(MI:STC|RP:TRC)\b", (550, 554)),
    Rule("ses-throttled", r"throttling failure|maximum sending rate exceeded", (454,)),
    Rule("login-throttled", r"too many (failed )?(login|authentication|auth) (attempts|failures)"),
    Rule("login-throttled", r"^4\.7\.0\b.*(try again later|too many|\brate\b)", (421, 454)),
    Rule("login-throttled", r"too much fail authentication|auth error limit exceed|^HL:(ICC|IFC)\b"),
    Rule("login-throttled", r"too many (concurrent )?connections", (421, 450, 451, 454)),
    # NetEase and Tencent
    Rule("authorization-code", r"login fail|请使用授权码|authori[sz]ation code|authentication code", (535, 550)),
    Rule("authorization-code", r"^error: authentication failed", (535,), providers=NETEASE, other=True),
    Rule("smtp-service-off", r"user has no permission|smtp service (is )?(disabled|closed|not open)", (535, 550)),
    Rule("sender-header-differs", r"\bDT:SUM\b", (553, 554)),
    Rule("looks-like-spam", r"\bDT:SPM\b", (550, 553, 554)),
    Rule("looks-like-spam-for-now", r"\bDT:SPM\b", (421, 450, 451)),
    # Microsoft
    Rule("microsoft-basic-auth-gone", r"^5\.7\.30\b|basic auth(entication)? is (disabled|not supported)"),
    Rule("bad-credentials", r"^5\.7\.139\b.*credentials were incorrect"),
    Rule("microsoft-auth-off", r"^5\.7\.(139|57)\b|smtpclientauthentication is disabled"),
    Rule("microsoft-auth-off", r"^5\.7\.3\b.*authentication unsuccessful", (535,)),
    # Amazon
    Rule("ses-not-verified", r"email address(es)? (is|are) not verified|identit(y|ies) failed the check", (554,)),
    Rule("ses-not-verified", r"not verified", (554,), providers=("ses",)),
    Rule("ses-credentials", "", (535,), ("auth",), ("ses",)),
    # The sender
    Rule("sender-not-login", r"mail ?from (must equal|address must be same|must be the same)|must (equal|be the same as) auth"),
    Rule("sender-not-login", r"not owned by (the )?(auth )?user|sendasdenied|not allowed to send (mail )?as|from address is not one of your addresses"),
    Rule("sender-not-login", r"^5\.7\.60\b|not local sender over smtp|sender address rejected: not logged in", (530, 550, 553, 554)),
    Rule("sender-not-verified", r"verified sender identity|sender signature|(sender|from|domain).{0,40} (is |has )?not (been )?verified"),
    # TLS
    Rule("starttls-on-tls-port", r"not permitted when tls active|tls (is )?already (active|started)|already (running|using|in) tls"),
    Rule("starttls-not-now", "", (454,), ("tls",)),
    Rule("starttls-required", r"must issue (a )?starttls|starttls (command )?(is )?(required|first)|(encryption|tls) (is )?required", (421, 451, 454, 530, 538, 550, 554)),
    Rule("starttls-not-offered", r"starttls extension not supported"),
    # What else Google says with this code, once it is not about TLS
    Rule("login-throttled", r"^4\.7\.0\b", (421,), providers=("gmail",)),
    # Logging in
    Rule("oauth-only", r"\b(xoauth2?|oauthbearer)\b.* none takes user and password"),
    Rule("auth-not-offered", r"auth extension not supported|auth.{0,20} not advertised|authentication not enabled|no suitable authentication method|none takes user and password"),
    Rule("auth-not-offered", "", (500, 502, 503, 504), ("auth",)),
    Rule("not-logged-in", r"need ehlo and auth|auth(entication)? (is )?(required|needed)|not authenticated|must (authenticate|log ?in)", (451, 454, 503, 530, 550, 553, 554)),
    Rule("not-logged-in", "", (530,)),
    Rule("bad-credentials", "", (534, 535), ("auth",)),
    # The machine and the session
    Rule("ehlo-name", r"need fully-qualified hostname|helo command rejected|(helo|ehlo) .{0,40}(invalid|not valid|syntactically)|invalid (helo|ehlo)", (450, 501, 504, 550, 554)),
    Rule("relay-denied", r"relay(ing)? (access )?(is )?(denied|not permitted|prohibited|not allowed)|(unable|not permitted|not allowed) to relay", (450, 454, 550, 551, 553, 554)),
    Rule("blocklisted", r"spamhaus|spamcop|barracudacentral|blocked using|(block|black) ?list", (421, 450, 451, 521, 550, 553, 554)),
    Rule("out-of-step", r"send he?lo|(helo|ehlo) first|nested mail|need (rcpt|mail)|sender already (given|specified)|bad sequence", (503,)),
    # One message
    Rule("address-not-ascii", r"^5\.6\.7\b"),
    Rule("too-large", r"^5\.3\.4\b|message (size|file) .{0,40}(exceed|too (big|large))|message (is )?too (big|large)|maximum message size", (523, 552, 554)),
    Rule("mailbox-full", r"^[45]\.2\.2\b|over ?quota|mailbox (is )?full"),
    Rule("greylisted", r"gr[ea]y-?list", (421, 450, 451)),
    Rule("no-such-recipient", r"^5\.1\.1\b|user (is )?unknown|unknown (user|recipient)|no such (user|recipient|mailbox)|does not exist", (550, 551, 553, 554), ("recipient", "end")),
    Rule("looks-like-spam", r"(likely|considered|detected as|looks like|classified as) .{0,20}(spam|unsolicited)", (550, 554), ("data", "end")),
)
_BREAKS: tuple[Rule, ...] = (
    Rule("proxy-cannot-reach", r"cannot reach|: HTTP/\S+ (502|503|504)", phases=("proxy",)),
    Rule("proxy-login", r"authentication failure|no acceptable auth|unexpected socks authentication|: HTTP/\S+ 40[17]", phases=("proxy",)),
    Rule("proxy-unusable", phases=("proxy",)),
    Rule("unknown-host", phases=("dns",)),
    Rule("tls-on-plain-port", r"wrong_version_number|record_layer_failure|unknown_protocol|packet_length_too_long|wrong version number|record layer failure"),
    Rule("certificate-expired", r"certificate has expired"),
    Rule("certificate-not-yet-valid", r"certificate is not yet valid"),
    Rule("certificate-wrong-name", r"(hostname|ip address) mismatch"),
    Rule("certificate-self-signed", r"self[- ]signed certificate"),
    Rule("certificate-unknown-issuer", r"unable to get (local )?issuer certificate|unable to verify the first certificate"),
    Rule("certificate-refused", r"certificate_verify_failed|certificate verify failed"),
    Rule("tls-no-common-ground", r"unsupported_protocol|handshake_failure|no_protocols_available|no_shared_cipher|protocol_version|dh_key_too_small|unsafe_legacy", phases=("tls",)),
    Rule("refused", r"connection ?refused", phases=("connect",)),
    Rule("unreachable", r"network is unreachable|no route to host|unreachable", phases=("connect",)),
    Rule("connect-timeout", r"timed? ?out|did not answer", phases=("connect",)),
    Rule("no-greeting", phases=("greeting",), broken=True),
    Rule("outcome-unknown", phases=("end",)),
    Rule("silent", r"timeout", phases=("ehlo", "tls", "auth", "sender", "recipient", "data"), broken=True),
    Rule("connection-lost", phases=("ehlo", "tls", "auth", "sender", "recipient", "data"), broken=True),
)
# fmt: on


def diagnose(failure: Failure, *, provider: Provider | None = None) -> Diagnosis | None:
    """The known cause of a failure, or None: an unknown reply is shown as it is, without a guess.

    `provider`: the preset of the relay, where there is one; some replies mean more from a known mouth.
    """
    text = _FOLD.sub(" ", failure.text).strip() if "\n" in failure.text else failure.text.strip()
    unanswered = failure.code is None and failure.phase not in ("config", PREPARE)
    rules = (*_BREAKS, *_REPLIES) if unanswered else _REPLIES
    return next((CAUSES[rule.id] for rule in rules if rule.fits(failure, text, provider)), None)


def known(id: str) -> Diagnosis | None:
    """A diagnosis by its id, as it is kept with messages and attempts."""
    return CAUSES.get(id)
