"""Why a relay refused: from a failure to its cause and fix. Specific rules come before generic ones; the first wins."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from notify.smtp.api import OF_ACCOUNT
from notify.smtp.diagnosis.causes import CAUSES, Diagnosis
from notify.smtp.failure import PREPARE, Failure, one_line
from notify.smtp.providers.presets import Provider

__all__ = ["Diagnosis", "diagnose", "known"]

NETEASE = ("163", "126", "yeah", "188", "vip163", "vip126", "163-enterprise")
FOR_NOW = tuple(range(400, 500))
FOR_GOOD = tuple(range(500, 600))
_TOKEN = ("token",)
_OF_RECIPIENT = ("recipient", "data", "end")
_STATUS = re.compile(r"#?([245]\.\d{1,3}\.\d{1,3})\b")
# Links, addresses and host names: words in them mean nothing for the diagnosis.
_NAMES = re.compile(
    r"\bhttps?:\S+|\S+@\S+|(?<![\w.-])(?=[\d.-]*[a-z])[a-z\d-]+(?:\.[a-z\d-]+)+(?![\w-])", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True)
class Rule:
    """All that is given must hold: a pattern found in the words, a status (RFC 3463), one of the codes, of the phases.

    `names` is a pattern for links and host names, in place of the words. `providers`: names of presets (their first
    word is enough: ses for ses-eu-west-1). `other` adds: or none is known.
    """

    id: str
    pattern: str = ""
    codes: tuple[int, ...] = ()
    phases: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    other: bool = False
    broken: bool | None = None
    status: str = ""
    names: str = ""

    def fits(self, failure: Failure, text: str, words: str, provider: Provider | None) -> bool:
        """`words`: the text without names of any kind."""
        return (
            (not self.codes or failure.code in self.codes)
            and (not self.phases or failure.phase in self.phases)
            and (self.broken is None or self.broken == failure.broken)
            and (not self.providers or self._is_of(provider))
            and (not self.status or bool((match := _STATUS.match(text)) and re.fullmatch(self.status, match[1])))
            and bool(re.search(self.pattern, words, re.IGNORECASE))
            and bool(re.search(self.names, text, re.IGNORECASE))
        )

    def _is_of(self, provider: Provider | None) -> bool:
        if provider is None:
            return self.other
        return provider.name in self.providers or provider.name.split("-")[0] in self.providers


# ruff: noqa: E501  (tables: a row is a line)
# fmt: off
_REPLIES: tuple[Rule, ...] = (
    # --- By words
    # Logins with an access token: their refusals are followed by the mechanism (notify.smtp.login)
    Rule("microsoft-app-not-permitted", r"authentication unsuccessful.*\((xoauth2|oauthbearer)\b", (535,), ("auth",), status=r"5\.7\.3"),
    Rule("token-not-accepted", r"^(?!.*smtpclientauthentication).*\((xoauth2|oauthbearer)\b", FOR_GOOD, ("auth",)),
    # The machine's own name. Google names the command in brackets: without (EHLO) it is a rate limit.
    Rule("ehlo-name", r"try again later, closing connection\. \((ehlo|helo)\)"),
    Rule("ehlo-name", r"need fully-qualified hostname|\b(helo|ehlo)\b.{0,60}(invalid|not valid|reject|not found|bad\b|fully[- ]qualified|should be|not resolve)|(invalid|bad|forged|wrong|real (host ?)?name|ungültig).{0,40}\b(helo|ehlo)\b|helo ?host error"),
    Rule("ehlo-name", r"invalid domain name|invalid (host ?)?name", FOR_GOOD, ("ehlo",)),
    # Greylisting
    Rule("greylisted", r"gr[ea]y[- ]?list|gra[uy]listing|\[GL01\]|internal resources? (is |are )?temporarily unavailable|灰名单|グレーリスト|グレイリスト", FOR_NOW),
    # Google
    Rule("app-password-required", r"app(lication)?[- ](specific )?password", (534, 535)),
    Rule("browser-login", r"log in (through|with|via) your web browser", (534, 535)),
    Rule("gmail-credentials", r"username and password not accepted", (535,)),
    Rule("auth-twice", r"no identity changes permitted", (503,)),
    Rule("same-message-id", r"same message-id", (421, 450, 451, 550)),
    # NetEase and Tencent
    Rule("smtp-service-off", r"user has no permission|smtp service (is )?(disabled|closed|not open)|open smtp flag|smtp.{0,10}(未开启|没有开启|未启用)", (454, 535, 550)),
    Rule("authorization-code", r"login fail|请使用授权码|authori[sz]ation code|authentication code|授权码", (535, 550)),
    Rule("authorization-code", r"^error: authentication failed", (535,), providers=NETEASE, other=True),
    Rule("sender-header-differs", r"\bDT:SUM\b", (553, 554)),
    Rule("looks-like-spam", r"\bDT:SPM\b", (550, 553, 554)),
    Rule("looks-like-spam-for-now", r"\bDT:SPM\b", (421, 450, 451)),
    Rule("daily-quota", r"^(MI:STC|RP:TRC)\b", (550, 554)),
    Rule("login-throttled", r"^HL:(ICC|IFC|REP|MEP)\b"),
    # Microsoft
    Rule("microsoft-basic-auth-gone", r"basic auth(entication)? is (disabled|not supported)"),
    Rule("bad-credentials", r"credentials were incorrect", status=r"5\.7\.139"),
    Rule("microsoft-auth-off", r"smtpclientauthentication is disabled"),
    Rule("microsoft-auth-off", r"not authenticated", status=r"5\.7\.57"),
    Rule("microsoft-auth-off", r"authentication unsuccessful", (535,), status=r"5\.7\.3"),
    Rule("no-such-recipient", r"recipient address rejected: access denied", status=r"5\.4\.1"),
    # Amazon
    Rule("ses-credentials", r"credentials", (535,), ("auth",), ("ses",)),
    Rule("ses-not-verified", r"email address(es)? (is|are) not verified|identit(y|ies) failed the check", (554,)),
    Rule("ses-not-verified", r"not verified", (554,), providers=("ses",)),
    Rule("daily-quota", r"throttling failure: daily", (454,)),
    Rule("ses-throttled", r"throttling failure|maximum sending rate exceeded", (454,)),
    # Who sends
    Rule("sender-not-login", r"mail ?from (must equal|address must be same|must be the same)|must (equal|be the same as) auth"),
    Rule("sender-not-login", r"not owned by (the )?(auth )?user|sendasdenied|not allowed to send (mail )?as|permissions? to send as|from address is not one of your addresses|mail from\W{0,2} (account )?doesn't conform with auth|sender address (is )?not allowed|sender is not allowed to relay|not authori[sz]ed to (send|use) (from|as|the|this)"),
    Rule("sender-not-login", r"not local sender over smtp|sender address rejected: not logged in", (530, 550, 553, 554)),
    Rule("sender-not-verified", r"verified sender identity|sender signature|(sender|from|domain).{0,40} (is |has )?not (been )?verified"),
    Rule("no-reverse-dns", r"reverse (dns|host ?name|lookup|resolution)|(?<![a-z])(ptr|rdns)(?![a-z])|cannot find your (reverse )?hostname|rückwärtsauflösung|逆引き|反向解析"),
    Rule("sender-unauthenticated", r"^(?!.*temporary.{0,40}(lookup|dns)).*((?<![a-z])(spf|dkim|dmarc)(?![a-z]|-signature)|sender policy framework|unauthenticated (e-?mail|mail|message)|sender is unauthenticated|required authentication level|送信ドメイン認証)"),
    # How much, and how fast
    Rule("recipient-throttled", r"(user|recipient|mailbox|account).{0,50}receiv(ing|ed) (too much |too many )?(e?-?mails?|messages).{0,40}(quickly|rate|short period|limit)|recipient (thread|rate) limit|limit for messages received|用户.{0,8}接收.{0,12}频"),
    Rule("daily-quota", r"\bdaily .{0,60}(limit|quota).{0,20} exceeded|exceeded .{0,30}\bdaily .{0,30}(limit|quota)|reached (your|the) daily|(daily|monthly) sending quota|enough sending quota|maximum credits exceeded|too many (messages|mails|e-?mails).{0,20}(today|24 hours)|täglich.{0,30}(limit|kontingent)|tageslimit|发信量.{0,12}(上限|超)|(当日|每日|今日).{0,12}(上限|超|限)|送信(通)?数.{0,12}(上限|制限|超)"),
    Rule("login-throttled", r"too many (failed |bad |unsuccessful )?(login|auth)\w* (attempts|failures|tries)|too much fail authentication|auth error limit exceed"),
    Rule("login-throttled", r"too many (concurrent |simultaneous |new |parallel |open )*(tls |smtp )?(connections?|sessions)\b", (421, 450, 451, 452, 454, 550, 554)),
    Rule("login-throttled", r"\brate[- ]limit|\bthrottl|frequency limited|(too frequent|frequently) send|too many (messages|mails|e-?mails)(?! (on|in) )|too many recipients (this|per) (hour|minute)|exceed\w*.{0,40}(per (hour|minute)|connection limit)|per (hour|minute) exceeded|connections? limit exceeded|number of concurrent (server )?connections|too many requests|limits? (for|on) how many messages|(send|sending|mail) limit (has been |was |is )?(exceeded|reached)|too many recipients from|maximum connection limit|try again slower|trop de connexions|too much mail from|(submission|sending|message|connection) rate\b.{0,40}exceed|unusual rate of|deferred due to .{0,20}(unexpected volume|complaints)|send(ing)? too (fast|quickly|often)|zu viele (e-?mails|nachrichten|verbindungen)|频率.{0,6}(限|过|高|快|超)|过于频繁|連続送信|流量制限"),
    Rule("login-throttled", r"try again later", (421, 454), status=r"4\.7\.0"),
    # Where from
    Rule("relay-denied", r"relay(ing)? (access )?(is )?(denied|not permitted|prohibited|not allowed)|(unable|not permitted|not allowed) to relay|den(y|ies) relay|no relaying|not (an )?open relay|not (configured|permitted|allowed) to relay|list of allowed rcpthosts?|credentials for relay|拒绝中继|不允许中继|中継.{0,6}(拒否|許可)", (450, 454, 550, 551, 553, 554)),
    Rule("no-reverse-dns", r"ip name lookup failed"),
    Rule("blocklisted", r"\b(block|black|deny)[- ]?list|not in (the )?(white|allow)list|\b(rbl|dnsbl)\b|\bspamhaus\b|\bspamcop\b|\bsorbs\b|blocked using|(banned|blocked) (sending )?ip|(host|address|server|domain|ip|\]) (is |was )?listed (at|in|on|by)|client host blocked|\breputation\b|bad (sender )?ip|ip (address )?(is |was |has been )?(blocked|rejected|banned)|(spam|abuse|spamming)\b.{0,20} (from your ip|issues)|mail from (your|dynamic) ip|hosts? with dynamic ip|smtp server of your isp|open proxy|not authori[sz]ed to send e?-?mail directly|banned sender|\d\]? (is )?listed (at|in|on|by)|^ip=\S+ - |\bblack ip\b|黑名单|ブラックリスト|sperrliste", (421, 450, 451, 521, 550, 553, 554, 571)),
    Rule("blocklisted", "", (421, 450, 451, 521, 550, 553, 554, 571), names=r"\b(spamhaus\.org|spamcop\.net|barracudacentral\.org|abuseat\.org|sorbs\.net|uceprotect\.net)\b|dnsbl"),
    # TLS
    Rule("starttls-on-tls-port", r"not permitted when tls active|tls (is )?already (active|started)|already (running|using|in) tls"),
    Rule("starttls-required", r"must issue (a )?starttls|starttls (command )?(is )?(required|first)|(encryption|\btls|\bssl) (is )?(required|needed|mandatory)|must use (tls|ssl|starttls|encryption)|secure connection is requi|plain ?text authentication (is )?(disallowed|not allowed|disabled)|verschlüssel\w+.{0,20}(erforderlich|nötig|notwendig)|unverschlüsselt|(请|必须|需要?)使用 ?(ssl|tls|加密)|暗号化.{0,10}(必要|必須)"),
    Rule("starttls-not-offered", r"starttls extension not supported"),
    # Logging in
    Rule("token-not-taken", r"none takes a token"),
    Rule("oauth-only", r"\b(xoauth2?|oauthbearer)\b.* none takes user and password"),
    Rule("auth-not-offered", r"auth extension not supported|auth.{0,20} not advertised|authentication not enabled|no suitable authentication method|none takes user and password|mechanism (is )?too weak"),
    Rule("account-disabled", r"(account|user|mailbox|login)\b.{0,30}(disabled|suspended|locked|blocked|frozen|deactivated)|konto.{0,20}gesperrt|(用户|[帐账][号户]).{0,10}(锁定|冻结|停用|禁用)|アカウント.{0,10}(停止|ロック|無効)", FOR_GOOD, ("auth",)),
    Rule("not-logged-in", r"need ehlo and auth|\bauth(entication)? (is )?(required|needed)|not authenticated|must (authenticate|log ?in|be authenticated)|unauthenticated senders? not|turn on smtp authentication|authentifizierung (ist )?erforderlich|请先(登录|认证)|認証が必要", (451, 454, 503, 530, 550, 553, 554)),
    Rule("bad-credentials", r"authentication (failed|failure|unsuccessful|credentials invalid)|(user ?name|password|credentials?|kennwort|passwort)\b.{0,40}(incorrect|invalid|wrong|falsch|ungültig|mismatch)|密码.{0,4}(错误|不正确)|パスワード.{0,10}(違|誤|正しく)", FOR_GOOD, ("auth",)),
    Rule("out-of-step", r"send he?lo|(helo|ehlo) first|nested mail|need (rcpt|mail)|sender already (given|specified)|bad sequence", (503,)),
    # One message
    Rule("too-large", r"message (size|file|length) .{0,40}(exceed|too (big|large))|(message|mail) (is )?too (big|large|long)|maximum message size|message size limit|maximum .{0,20}message size|exceeded mailsize|nachricht.{0,20}zu gro(ß|ss)|邮件.{0,8}(过大|太大|超过.{0,6}大小)|サイズ.{0,12}(超|大き)", (452, 510, 523, 550, 552, 554, 557)),
    Rule("mailbox-full", r"over ?quota|(over|exceed\w*|reached) (the |its |their |his )?.{0,20}\bquota|(?<!sending )\bquota (limit |usage )?(exceed|violation|full)|full mailbox|mail ?(box|folder)\b.{0,20}\bfull\b|mailbox size limit|exceed\w* .{0,30}(disk space|local limit|storage)|(out of|allowed) storage|not (enough|sufficient) (storage|disk) space|space has been used up|bo[iî]te .{0,20}pleine|too much mail data|postfach.{0,20}\bvoll\b|(邮箱|信箱).{0,8}(满|空间不足)|メールボックス.{0,16}(一杯|いっぱい|満杯|容量|フル)|容量.{0,8}(オーバー|超過)", (*FOR_NOW, *FOR_GOOD), _OF_RECIPIENT),
    Rule("no-such-recipient", r"^(?!.*\b(sender|helo|ehlo)\b).*((user|recipient|mailbox|account|address|domain|domain name)\b.{0,60}(unknown|(does |do |is |was |are )?not (exist|found|known|present)|doesn't exist|could not be found|no longer valid)|unknown (user|recipient|local part|mailbox|host)|no such (user|person|recipient|mailbox|address|domain)|no (account|mail ?box)( by| found| here| available)|not a (known|valid) (user|mailbox|recipient|address)|invalid (recipient|user|mailbox)|recipient no longer on|user doesn't have an?|not our (user|customer)|host unknown|unroute?able address|utilisateur inconnu|destinataire.{0,20}(inconnu|invalide)|no existe|existiert nicht|empf[äa]e?nger.{0,30}unbekannt|(用户|收件人|地址|邮箱).{0,10}不存在|(宛先|アドレス|ユーザー?).{0,12}(存在しま|存在しない|見つかりま|不明))", (*FOR_GOOD,), _OF_RECIPIENT),
    Rule("mailbox-disabled", r"(account|mailbox|inbox)\b.{0,50}(disabled|suspended|inactive|deactivated|discontinued|frozen|blocked|locked)|(user|recipient|address)\b.{0,60}(disabled|suspended|inactive|deactivated|terminated|locked|not active|no longer accepts)|(inactive|deactivated|disabled) (account|user|mailbox|recipient)|postfach.{0,20}(gesperrt|deaktiviert)|(邮箱|用户|收件人).{0,10}(停用|禁用|冻结|锁定)", (*FOR_NOW, *FOR_GOOD), _OF_RECIPIENT),
    Rule("looks-like-spam", r"(likely|considered|detected as|looks like|classified as|flagged as|identified as|rejected as|marked as|eingestuft).{0,40}\b(spam|unsolicited)|rejected, ube\b|\bas spam\b|\bno spam\b|by (content|behaviour) ?spam|suspected spam|content denied|(?<!from )(?<!amount of )\bspam( is)?( (e?-?mail|messages?|content|score|filter))*.{0,4}(detected|embedded|reject|refus|blocked|not accepted|matched)|(reject|refus|block|contain|appear|probab|possib|thinks|looked|similar).{0,40}(?<!from )(?<!amount of )\b(spam|unsolicited|bulk)\b|spam-like|spamassassin|- spam$|垃圾邮件|迷惑メール", FOR_GOOD, ("recipient", "data", "end")),
    Rule("looks-like-spam-for-now", r"(likely|considered|detected as|looks like|classified as|flagged as).{0,20}\b(spam|unsolicited)|by (content|behaviour) ?spam|垃圾邮件|迷惑メール", FOR_NOW, ("data", "end")),
    # --- By status (RFC 3463, 5248, 7372, and the providers' own)
    Rule("microsoft-auth-off", status=r"5\.7\.(139|57)"),
    Rule("microsoft-basic-auth-gone", status=r"5\.7\.30", phases=("auth", "sender")),
    Rule("ehlo-name", status=r"5\.7\.506"),
    Rule("sender-unauthenticated", status=r"[45]\.7\.(2[0-46]|509|515)"),
    Rule("no-reverse-dns", status=r"[45]\.7\.25"),
    Rule("blocklisted", status=r"5\.7\.(50[1-3]|511|513|6[0-4]\d|708)"),
    Rule("login-throttled", status=r"[45]\.7\.28|4\.7\.[568]\d\d"),
    Rule("login-throttled", codes=(421,), providers=("gmail",), status=r"4\.7\.0"),
    Rule("daily-quota", codes=(550,), status=r"5\.4\.5|5\.1\.90"),
    Rule("sender-not-login", codes=(530, 550, 553, 554), status=r"5\.7\.60"),
    Rule("starttls-required", status=r"[45]\.7\.1[01]"),
    Rule("account-disabled", phases=("auth",), status=r"5\.7\.13"),
    Rule("bad-credentials", phases=("auth",), status=r"5\.7\.8"),
    Rule("address-not-ascii", status=r"5\.6\.7"),
    Rule("too-large", status=r"5\.3\.4|5\.2\.3"),
    Rule("mailbox-full", status=r"[45]\.2\.2"),
    Rule("mailbox-disabled", phases=_OF_RECIPIENT, status=r"[45]\.2\.1"),
    Rule("no-such-recipient", phases=_OF_RECIPIENT, status=r"5\.1\.([1236]|10|351)"),
    # --- By code or phase alone
    Rule("ses-credentials", "", (535,), ("auth",), ("ses",)),
    Rule("starttls-not-now", "", (454,), ("tls",)),
    Rule("auth-not-offered", "", (500, 502, 503, 504), ("auth",)),
    Rule("not-logged-in", "", (530,)),
    Rule("bad-credentials", "", (534, 535), ("auth",)),
)
_APIS: tuple[Rule, ...] = (  # codes are HTTP's
    Rule("sender-not-verified", r"verified sender identity|sender signature|(?<!recipient )\b(sender|from|domain|identity|email address)\b.{0,60}\b(not|isn't|is unverified)\b.{0,20}(verified|confirmed|authori[sz]ed|allowed|found|valid)|'from' address", (*OF_ACCOUNT, 400, 404, 422)),
    Rule("daily-quota", r"\b(daily|monthly|hourly)\b.{0,40}(limit|quota)|credits? (exceeded|exhausted)|(out of|not enough|insufficient) credits?|quota.{0,20}exceeded", (*OF_ACCOUNT, 422, 429)),
    Rule("too-large", "", (413,)),
    Rule("api-credentials", "", (401, 403, 407)),
    Rule("api-account", "", (402,)),
    Rule("api-not-found", "", (404, 405, 410)),
    Rule("api-throttled", "", (429,)),
    Rule("api-failed", "", tuple(range(500, 600))),
    Rule("recipient-refused-by-api", phases=("recipient",)),
    Rule("unsupported-by-api", phases=(PREPARE,)),
)
_BREAKS: tuple[Rule, ...] = (
    Rule("token-not-authorized", r"no refresh token", phases=_TOKEN),
    Rule("token-key-changed", r"cannot be decrypted", phases=_TOKEN),
    Rule("token-secret-wrong", r"AADSTS7000215\b|invalid_client: the provided client secret is invalid|client secret .{0,20}(invalid|wrong)", phases=_TOKEN),
    Rule("token-secret-expired", r"AADSTS7000222\b", phases=_TOKEN),
    Rule("token-public-client", r"AADSTS(7000218|700025|90023)\b|client_secret is missing", phases=_TOKEN),
    Rule("token-tenant-unknown", r"AADSTS(90002|900023|50194)\b", phases=_TOKEN),
    Rule("token-client-unknown", r"AADSTS(700016|7000112|900144)\b|client was not found", phases=_TOKEN),
    Rule("token-no-consent", r"AADSTS(65001|65004|90094)\b|consent_required", phases=_TOKEN),
    Rule("token-mfa", r"AADSTS500(76|79|72|74|78)\b|interaction_required|login_required", phases=_TOKEN),
    Rule("token-not-allowed", r"AADSTS(50105|530\d\d|53000\d|50020|50057|50034)\b|admin_policy_enforced|org_internal|access_denied: .*policy", phases=_TOKEN),
    Rule("token-scope-refused", r"AADSTS(70011|1002012|650053|28000)\b|invalid_scope", phases=_TOKEN),
    Rule("token-declined", r"\b(access_denied|expired_token|authorization_declined|code_expired)\b", phases=_TOKEN),
    Rule("google-grant-ended", r"invalid_grant", phases=_TOKEN, names=r"googleapis\.com"),
    Rule("token-grant-ended", r"invalid_grant", phases=_TOKEN),
    Rule("token-secret-wrong", r"invalid_client", phases=_TOKEN),
    Rule("token-app-kind", r"unauthorized_client|unsupported_grant_type|redirect_uri_mismatch|unsupported_response_type", phases=_TOKEN),
    Rule("token-certificate", r"certificate verify failed", phases=_TOKEN),
    Rule("token-proxy", r"ProxyFailed", phases=_TOKEN),
    Rule("token-endpoint-wrong", r"HTTP [34]\d\d, (and no answer|a redirect)", phases=_TOKEN, broken=False),
    Rule("token-unavailable", phases=_TOKEN, broken=True),
    Rule("token-refused", phases=_TOKEN),
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
    rule = next(matching(failure, provider=provider), None)
    return CAUSES[rule.id] if rule else None


def matching(failure: Failure, *, provider: Provider | None = None) -> Iterator[Rule]:
    """The rules that fit, the one that wins first."""
    unanswered = failure.code is None and failure.phase not in ("config", PREPARE)
    rules = (*_BREAKS, *_REPLIES) if unanswered else _REPLIES
    if failure.api:
        rules = (*_APIS, *_BREAKS) if unanswered or failure.phase == PREPARE else _APIS
    text = one_line(failure.text).strip()
    words = text if unanswered else _NAMES.sub("…", text)
    return (rule for rule in rules if rule.fits(failure, text, words, provider))


def known(id: str) -> Diagnosis | None:
    """A diagnosis by its id, as it is kept with messages and attempts."""
    return CAUSES.get(id)
