"""Every detector's rule: the pattern to find, the class it belongs to, the judge that has to agree.

Data. Patterns are RE2 over bytes, matched leftmost-longest. The laws for whoever adds one (tests hold to them):

- every repeat is bounded and a match stays under `MAX_MATCH` bytes, so that streams can decide in a window;
  what may be longer (a token, a key) goes on in `tail`: the bytes that belong to it as long as they come;
- a pattern begins at a boundary (`EDGE`) or with letters that are its own: one that could begin at every letter of a
  word multiplies the automaton's states, and random hexadecimal then runs at 0.1 MB/s; for the same reason long
  repeats are the judge's to follow, not the pattern's;
- no pattern matches a NUL: cells are joined with one between them;
- no pattern begins or ends within a multi-byte character: bytes of 0x80 and above stand as whole characters;
- no capturing groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from mcp_gateway.masking import classes, judging
from mcp_gateway.masking.checksums import IBAN_LENGTHS
from mcp_gateway.masking.identities import BARE_IDENTITY, IDENTITIES, LABELLED_IDENTITY, Identity
from mcp_gateway.masking.judging import Judge

MAX_MATCH = 576
"""Bytes of the longest match that a pattern may have."""
MAX_KEY = 64 * 1024
"""Bytes after which a private key whose end never comes is taken to be over."""

EDGE = rb"(?:\b|_)"
"""Where a number or word begins; the judge takes the underscore off again."""
LETTER = rb"(?:[\xc3-\xdf][\x80-\xbf]|[\xe3-\xed][\x80-\xbf][\x80-\xbf])"
WORD = rb"[\w\-]"
OCTETS = rb"\d{1,5}(?:\.\d{1,5}){3,9}"
LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
HEX_STARTS = b"0123456789ABCDEFabcdef_"
HEXTET = rb"[\dA-Fa-f]{1,4}"
V4_TAIL = rb"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}"

PEM_END = rb"-----END (?:[A-Z\d]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"

PASSWORD_WORDS = (
    rb"pass(?:word|wd|phrase)|pwd|client[_\-]?secret|secret[_\-]?(?:access[_\-]?)?key|\bsecret|api[_\-]?key|apikey"
    rb"|access[_\-]?key|account[_\-]?key|shared[_\-]?access[_\-]?(?:key|signature)|encryption[_\-]?key|private[_\-]?key"
)
TOKEN_WORDS = (
    rb"(?:access|auth|api|refresh|session|secret|private|bot|oauth|bearer|registration|personal[_\-]access|id|csrf|xsrf)"
    rb"[_\-]?token|\btoken"
)
ASSIGN = rb"\\?[\"']?[ \t]{0,2}[:=]>?[ \t]{0,2}"
QUOTE = rb"(?:\\?[\"'])?"
HEADER_VALUE = rb"[^\s\"'\x00-\x1f\x80-\xff]"


def _value(length: bytes) -> bytes:
    """What is assigned: a bare word of some length, or anything that is not empty behind an opening quote."""
    return (
        rb"(?:[^\s\"'\x00-\x1f,;&\\]{" + length + rb"}"
        rb"|\\?\"[^\"\x00-\x1f]|\\?'[^'\x00-\x1f])"
    )


def _countries() -> bytes:
    """The country codes of IBANs in either case, by first letter."""
    codes = groupby(sorted(IBAN_LENGTHS), key=lambda code: code[0])
    branches = ((first, "".join(code[1] for code in found)) for first, found in codes)
    return "|".join(f"[{first}{first.lower()}][{second}{second.lower()}]" for first, second in branches).encode()


COUNTRY = b"(?:" + _countries() + b")"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a detector."""

    detector: str
    data_class: str
    pattern: bytes
    judge: Judge | None = None
    tail: bytes = b""
    """A bracketed class of bytes: the hit goes on as long as they follow."""
    quoted: bool = False
    """Behind an opening quote the hit goes on to the closing one, whatever `tail` says."""
    until: bytes = b""
    """A pattern: the hit goes on to the end of its next match, at most `MAX_KEY` bytes."""
    numeric: bool = False
    """Whether it belongs to the alternation of numbers: two small automata are far quicker than their product."""
    starts: bytes = b""
    """The bytes that a match can begin with, where they are few; otherwise RE2 is asked, which knows a range."""
    default: bool = True
    """Whether the set `default` has it."""

    @property
    def firm(self) -> bool:
        """Whether a value that reaches back leaves this one's hits alone: in `user:password@host` is no address."""
        return self.data_class.startswith("secret.")


def _identity_rule(identity: Identity, *, default: bool) -> Rule:
    return Rule(
        detector=identity.name,
        data_class=classes.PII_NATIONAL_ID,
        pattern=EDGE + rb"(?:" + identity.pattern + rb")",
        judge=judging.identity(identity.check, same_separators=identity.same_separators),
        numeric=True,
        starts=identity.starts,
        default=default,
    )


EMAIL = Rule(
    detector="email",
    data_class=classes.PII_EMAIL,
    pattern=(
        rb"(?:@|%40|\\u0040|&#64;)"
        rb"(?:(?:[A-Za-z\d\-]|"
        + LETTER
        + rb"){1,40}\.){1,4}(?:[A-Za-z]{2,24}|xn--[A-Za-z\d\-]{2,40}|"
        + LETTER
        + rb"{2,12})"
    ),
    judge=judging.email,
    starts=b"@%\\&",
)

CARD_RULES = (
    Rule(
        detector="card",
        data_class=classes.PAYMENT_CARD,
        pattern=(
            rb"(?:\b|[A-Za-z_])(?:2[2-7]\d{14,17}|3[04-689]\d{12,17}|4\d{12}(?:\d{3}|\d{6})?|5\d{12,18}|6\d{15,18}|1\d{14}"
            rb"|[2-6]\d{3}(?:[ .\-]{1,2}\d{4}){3}(?:[ .\-]?\d{1,3})?|3\d{3}[ .\-]{1,2}\d{6}[ .\-]{1,2}\d{4,5})"
        ),
        judge=judging.card,
        numeric=True,
        starts=b"123456_" + LETTERS,
    ),
    Rule(
        detector="card",
        data_class=classes.PAYMENT_CARD,
        pattern=rb"\b[3-6][ \-]\d(?:[ \-]\d){11,17}",
        judge=judging.spaced_card,
        numeric=True,
    ),
)

PHONE = Rule(
    detector="phone",
    data_class=classes.PII_PHONE,
    pattern=(
        rb"\+\d{1,3}[ .\-/]?(?:\(\d{1,4}\)[ .\-/]?)?\d{1,4}(?:[ .\-/]?\d{1,4}){1,5}"
        rb"|\+\d{8,15}"
        rb"|\([02-9]\d{1,4}\)[ .\-/]?\d{2,4}(?:[ .\-/]?\d{2,4}){1,3}"
        rb"|" + EDGE + rb"(?:00[1-9]\d{0,2}[ .\-/](?:\(\d{1,4}\)[ .\-/]?)?\d{1,4}(?:[ .\-/]?\d{1,4}){1,5}"
        rb"|(?:1[ .\-])?[2-9]\d{2}[ .\-][2-9]\d{2}[ .\-]\d{4}"
        rb"|1[ .\-]?\([2-9]\d{2}\)[ .\-]?[2-9]\d{2}[ .\-]\d{4}"
        rb"|0[ \-]?\(\d{2,4}\)[ .\-/]?\d{2,4}(?:[ .\-/]?\d{2,4}){1,3}"
        rb"|0[1-9]\d{1,3}[ .\-/]\d{3,4}[ .\-]?\d{2,4}(?:[ .\-]\d{2,4})?"
        rb"|0[ \-][1-9]\d{2}[ \-]\d{3}[ \-]\d{2}[ \-]\d{2}"
        rb"|0[1-9](?:[ .]\d{2}){4}"
        rb"|[2-9]\d{2}[ \-]\d{3}[ \-]\d{2}[ \-]\d{2}"
        rb"|0[1-9]\d{9})"
    ),
    judge=judging.phone,
    numeric=True,
    starts=b"+(0123456789_",
)

ADDRESS_RULES = (
    Rule(
        detector="ip_address",
        data_class=classes.PII_IP_ADDRESS,
        pattern=EDGE + rb"(?:" + OCTETS + rb"(?:/\d{1,3})?)",
        judge=judging.ipv4,
        numeric=True,
    ),
    Rule(
        detector="ip_address",
        data_class=classes.PII_IP_ADDRESS,
        pattern=(
            EDGE + rb"(?:(?:" + HEXTET + rb":){7}" + HEXTET + rb"|(?:" + HEXTET + rb":){6}" + V4_TAIL +
            rb"|(?:" + HEXTET + rb":){1,7}(?::" + HEXTET + rb"){1,6}|(?:" + HEXTET + rb":){1,7}:"
            rb"|(?:" + HEXTET + rb":){1,6}(?::" + HEXTET + rb"){0,5}:" + V4_TAIL + rb")(?:/\d{1,3})?"
            rb"|::" + HEXTET + rb"(?::" + HEXTET + rb"){0,6}(?:/\d{1,3})?"
            rb"|:(?::" + HEXTET + rb"){0,5}:" + V4_TAIL + rb"(?:/\d{1,3})?"
        ),
        judge=judging.ipv6,
        starts=HEX_STARTS + b":",
        numeric=True,
    ),
    Rule(
        detector="mac_address",
        data_class=classes.PII_MAC_ADDRESS,
        pattern=(
            EDGE + rb"(?:[\dA-Fa-f]{2}(?:(?::[\dA-Fa-f]{2}){5,20}|(?:-[\dA-Fa-f]{2}){5,20})"
            rb"|[\dA-Fa-f]{4}\.[\dA-Fa-f]{4}\.[\dA-Fa-f]{4})"
        ),
        judge=judging.mac_address,
        starts=HEX_STARTS,
        numeric=True,
    ),
)  # fmt: skip

ACCOUNT_RULES = (
    Rule(
        detector="iban",
        data_class=classes.PAYMENT_IBAN,
        pattern=EDGE + COUNTRY + rb"\d{2}[ \-]?[A-Za-z\d]{4}",
        judge=judging.iban,
        numeric=True,
    ),
    Rule(
        detector="bitcoin",
        data_class=classes.PAYMENT_CRYPTO_ADDRESS,
        pattern=EDGE + rb"(?:[13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[02-9ac-hj-np-z]{11,71}|BC1[02-9AC-HJ-NP-Z]{11,71})",
        judge=judging.bitcoin,
        numeric=True,
        default=False,
    ),
)

KEY_RULES = (
    Rule(
        detector="private_key",
        data_class=classes.SECRET_PRIVATE_KEY,
        pattern=rb"-----BEGIN (?:[A-Z\d]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----",
        until=PEM_END,
    ),
    Rule(
        # The first line of a body without its frame, and of one that was encoded once more (a Kubernetes secret).
        detector="private_key",
        data_class=classes.SECRET_PRIVATE_KEY,
        pattern=(
            rb"b3BlbnNzaC1rZXktdjE|MII[A-K][A-Za-z\d+/]{2}IBAAK[BC]|MII[A-K][A-Za-z\d+/]{2}IBADANBgkqhkiG9w0BAQEFAASC"
            rb"|MHcCAQEEI|MIGkAgEBBD|MIGHAgEAMBMGByqGSM49|MC4CAQAwBQYDK2V[wu]BCIEI|AGE-SECRET-KEY-1[\dA-Z]{20}"
            rb"|LS0tLS1CRUdJTi(?:BSU0EgUFJJVkFURSBLRVkt|BQUklWQVRFIEtFWS|BFQyBQUklWQVRFIEtFWS|BPUEVOU1NIIFBSSVZBVEUgS0VZ)"
        ),
        tail=rb"[A-Za-z\d+/=\r\n]",
    ),
)

TOKEN_RULES = (
    Rule(
        detector="aws_key",
        data_class=classes.SECRET_TOKEN,
        pattern=rb"(?:A3T[A-Z\d]|AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA|ABIA|ACCA)[A-Z2-7]{16}",
        judge=judging.whole_word,
        tail=rb"[A-Z\d]",
    ),
    Rule(
        detector="google_key",
        data_class=classes.SECRET_TOKEN,
        pattern=rb"AIza" + WORD + rb"{35}|GOCSPX-" + WORD + rb"{28}|ya29\." + WORD + rb"{20}",
        tail=WORD,
    ),
    Rule(
        detector="azure_key",
        data_class=classes.SECRET_TOKEN,
        pattern=rb"(?:AccountKey|SharedAccessKey)=[A-Za-z\d+/]{40}",
        judge=judging.after_sign,
        tail=rb"[A-Za-z\d+/=]",
    ),
    Rule(
        detector="azure_key",
        data_class=classes.SECRET_TOKEN,
        pattern=rb"[?&]sig=[A-Za-z\d%+/]{40}",
        judge=judging.after_sign,
        starts=b"?&",
        tail=rb"[A-Za-z\d+/=%]",
    ),
    Rule(
        detector="github_token",
        data_class=classes.SECRET_TOKEN,
        pattern=rb"gh[pousr]_[A-Za-z\d]{36}|github_pat_\w{22}",
        tail=rb"\w",
    ),
    Rule(
        detector="slack_token",
        data_class=classes.SECRET_TOKEN,
        pattern=rb"xox[a-z](?:\.xox[a-z])?-[A-Za-z\d\-]{10}|xapp-\d-[A-Za-z\d\-]{10}|hooks\.slack\.com/(?:services|workflows)/[A-Za-z\d/]{20}",
        tail=rb"[A-Za-z\d\-/]",
    ),
    Rule(
        detector="json_web_token",
        data_class=classes.SECRET_TOKEN,
        pattern=rb"\be(?:yJ|yA|wo)" + WORD + rb"{8}",
        judge=judging.json_web_token,
        tail=rb"[\w.\-]",
    ),
    Rule(
        detector="provider_key",
        data_class=classes.SECRET_TOKEN,
        pattern=(
            rb"[srp]k_(?:live|test|prod)_[A-Za-z\d]{10}|whsec_[A-Za-z\d+/]{20}|sk-" + WORD + rb"{20}|glpat-" + WORD + rb"{20}"
            rb"|gl(?:ptt|dt|rt|cbt|ft|soat)-" + WORD + rb"{20}|hf_[A-Za-z]{30}|npm_[A-Za-z\d]{36}|pypi-AgE" + WORD + rb"{30}"
            rb"|SG\." + WORD + rb"{16,32}\." + WORD + rb"{20}|SK[\da-f]{32}|do[opr]_v1_[\da-f]{40}|hv[sbr]\." + WORD + rb"{24}"
            rb"|dapi[\da-f]{32}|shp(?:at|ca|pa|ss)_[\dA-Fa-f]{32}|lin_api_[A-Za-z\d]{30}|ATATT3" + WORD + rb"{40}"
            rb"|xai-[A-Za-z\d]{40}|gsk_[A-Za-z\d]{40}|dckr_pat_" + WORD + rb"{20}"
            rb"|nvapi-" + WORD + rb"{40}|r8_[A-Za-z\d]{36}|tskey-[a-z]{3,8}-[A-Za-z\d\-]{10}|dp\.(?:pt|st|sa)\.[A-Za-z\d]{40}"
        ),
        judge=judging.whole_word,
        tail=WORD,
    ),
    Rule(
        detector="provider_key",
        data_class=classes.SECRET_TOKEN,
        pattern=EDGE + rb"(?:\d{8,10}:AA" + WORD + rb"{33})",
        numeric=True,
        tail=WORD,
    ),
    Rule(
        detector="basic_auth",
        data_class=classes.SECRET_PASSWORD,
        pattern=rb"(?i:\bbasic)[ \t]{1,2}[A-Za-z\d+/]{6}",
        judge=judging.basic_credentials,
        tail=rb"[A-Za-z\d+/=]",
    ),
    Rule(
        detector="bearer_token",
        data_class=classes.SECRET_TOKEN,
        pattern=rb"(?i:\bbearer)[ \t]{1,2}[\w.~+/\-]{12}",
        judge=judging.bearer_credentials,
        tail=rb"[\w.~+/=\-]",
    ),
    Rule(
        detector="auth_header",
        data_class=classes.SECRET_TOKEN,
        pattern=(
            rb"(?i:\b(?:proxy-)?authorization)" + ASSIGN + QUOTE + rb"(?:[A-Za-z][\w\-]{1,20}[ \t]{1,2})?" + HEADER_VALUE + rb"{8}"
            rb"|(?i:\b(?:set-)?cookie|\bx-(?:api-key|auth-token|vault-token|amz-security-token))\\?[\"']?[ \t]{0,2}:[ \t]{0,2}(?:\\?[\"'])?"
            + HEADER_VALUE + rb"{4}"
        ),
        judge=judging.header_credentials,
        tail=rb"[^\x00-\x1f\"']",
    ),
)  # fmt: skip

PASSWORD_RULES = (
    Rule(
        detector="url_password",
        data_class=classes.SECRET_PASSWORD,
        pattern=rb"://[^\s\"'<>/@:\x00-\x1f\x80-\xff]{0,64}:[^\s\"'<>/@\x00-\x1f]",
        judge=judging.url_password,
    ),
    Rule(
        detector="assigned_secret",
        data_class=classes.SECRET_PASSWORD,
        pattern=rb"(?i:" + PASSWORD_WORDS + rb")" + ASSIGN + _value(b"4"),
        judge=judging.assigned_value,
        tail=rb"[^\s\"'\x00-\x1f,;&\\]",
        quoted=True,
    ),
    Rule(
        detector="assigned_secret",
        data_class=classes.SECRET_TOKEN,
        pattern=rb"(?i:" + TOKEN_WORDS + rb")" + ASSIGN + _value(b"8"),
        judge=judging.assigned_token,
        tail=rb"[^\s\"'\x00-\x1f,;&\\]",
        quoted=True,
    ),
)

IDENTITY_RULES = (
    *(_identity_rule(identity, default=True) for identity in IDENTITIES),
    Rule(
        detector="labelled_national_id",
        data_class=classes.PII_NATIONAL_ID,
        pattern=LABELLED_IDENTITY,
        judge=judging.labelled_identity,
    ),
    _identity_rule(BARE_IDENTITY, default=False),
)

LIKE_PHONES = {"uk_nhs", "bare_national_id"}
"""Identity numbers in a form that is more often a telephone number."""

RULES: tuple[Rule, ...] = (
    EMAIL,
    *CARD_RULES,
    *KEY_RULES,
    *TOKEN_RULES,
    *PASSWORD_RULES,
    *ACCOUNT_RULES,
    *(rule for rule in IDENTITY_RULES if rule.detector not in LIKE_PHONES),
    PHONE,
    *ADDRESS_RULES,
    *(rule for rule in IDENTITY_RULES if rule.detector in LIKE_PHONES),
)
"""In order of preference where two rules fit the same span."""
