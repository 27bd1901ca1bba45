"""What personal things look like: a pattern each, and their check digits where they have some."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from services.trainer.curation import checksums


class Kind(StrEnum):
    """What is found, in the order in which one goes before another that it overlaps."""

    URL = "URL"
    SECRET = "SECRET"  # noqa: S105 - the name of a kind
    EMAIL = "EMAIL"
    IBAN = "IBAN"
    NATIONAL_ID = "NATIONAL_ID"
    CARD = "CARD"
    IP = "IP"
    PHONE = "PHONE"
    ADDRESS = "ADDRESS"
    NAME = "NAME"


@dataclass(frozen=True)
class Found:
    """``text[start:end]`` is of that kind; ``value`` is the same however it was written."""

    kind: Kind
    start: int
    end: int
    value: str


Check = Callable[[str], bool]


@dataclass(frozen=True)
class Form:
    """What something looks like; of its match, the group ``it`` counts where there is one."""

    kind: Kind
    pattern: re.Pattern[str]
    check: Check = lambda value: True
    """Of the match without spaces, dots and dashes, in capitals."""
    plain: re.Pattern[str] = re.compile(r"[\s.\-–/()]")
    """What is written between, and says nothing."""

    def find(self, text: str) -> Iterator[Found]:
        """All that pass their check."""
        group = "it" if "it" in self.pattern.groupindex else 0
        for match in self.pattern.finditer(text):
            value = self.plain.sub("", match[group]).upper()
            if self.check(value):
                yield Found(self.kind, match.start(group), match.end(group), value)


_NOTHING = re.compile(r"(?!)")
_CASE = re.IGNORECASE


def _card(value: str) -> bool:
    return 13 <= len(value) <= 19 and len(set(value)) > 1 and checksums.luhn(value)


def _address_of_a_machine(value: str) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def _phone(value: str) -> bool:
    digits = value.lstrip("+")
    return 9 <= len(digits) <= 15 and len(set(digits[-6:])) > 1


def _name(value: str) -> bool:
    return value.split()[0].removesuffix("'S").removesuffix("’S") not in _NO_NAMES


_TITLE = r"(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|M|Mme|Mlle|Pr|Monsieur|Madame|Mademoiselle|Maître|Docteur|Doctor|Professor)"
_CAPITAL = r"[A-ZÀ-ÖØ-Þ]"
_WORD = rf"{_CAPITAL}[\w’'-]*[^\W\d_]\b"
FULL_NAME = rf"{_WORD}(?:[ \u00a0](?:(?:de|du|la|le|van|von|der|bin|al)[ \u00a0])*{_WORD}){{0,3}}"
"""A pattern: words with capitals, and what stands between them in a surname."""
_INTRODUCED = (
    r"(?:[Mm]y (?:full |first |last |family )?name(?:'s|’s| is)|[Ii](?:'m|’m| am) (?:called|named)|[Cc]all me"
    r"|[Mm]oi,? c['’]est|[Ii]ci"
    r"|[Jj]e (?:m['’]appelle|me nomme)|[Mm]on (?:nom|prénom)(?: de famille)? (?:est|c['’]est)|[Aa]ppelle[sz]?-moi"
    r"|(?:[Hh]is|[Hh]er|[Tt]heir) name(?:'s|’s| is)|(?:[Ii]l|[Ee]lle) s['’]appelle"
    r"|(?:[Yy]ours|[Rr]egards|[Ss]incerely|[Cc]ordialement|[Bb]ien à vous|[Ss]igned|[Ss]igné),?)"
)
_GREETING = (
    r"(?:[Hh]ey|[Hh]i|[Hh]ello|[Dd]ear|[Tt]hanks|[Tt]hank you|[Gg]ood (?:morning|evening|night)|[Bb]ye"
    r"|[Bb]onjour|[Bb]onsoir|[Ss]alut|[Cc]oucou|[Cc]her|[Cc]hère|[Mm]erci)"
)
_NO_NAMES = frozenset(
    """
    ALL CHRISTMAS DADDY DIARY DOCTOR EVERYBODY EVERYONE FOLKS FRIEND FRIENDS GOD GOODNESS GUYS HELLO HEY I IN IT LADIES
    LE LES LORD MADAM MADAME MAMAN MINISTER MOM MONDE MONSIEUR MUM NO PAPA PRESIDENT SIR TEAM THANKS THERE TO TOUS TOUT
    WHAT WHO WORLD YES YOU
    """.split()  # noqa: SIM905 - a list would be a screen long
)
"""What is greeted without being called so."""
_STREET_ENGLISH = (
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Close|Court|Ct|Crescent|Boulevard|Blvd|Terrace|Way|Place|Pl"
    r"|Square|Sq|Gardens|Grove|Hill|Mews|Row)\b\.?"
)
_STREET_FRENCH = (
    r"(?:rue|avenue|av\.?|boulevard|bd\.?|place|chemin|impasse|allée|allées|quai|route|cours|square|passage|ruelle"
    r"|sentier|faubourg|lotissement|résidence)"
)
_POSTCODE = r"(?:[A-Z]{1,2}\d[A-Z\d]?[ ]?\d[A-Z]{2}|\d{5}(?:-\d{4})?)"
_TOWN = rf"{_WORD}(?:[ -](?:{_WORD}|(?:sur|sous|en|de|la|le|les|lès)\b))*"

FORMS: tuple[Form, ...] = (
    Form(Kind.SECRET, re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL)),
    Form(Kind.SECRET, re.compile(r"\beyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?"), plain=_NOTHING),
    Form(
        Kind.SECRET,
        re.compile(
            r"\b(?:mgk_|sk-|pk_live_|sk_live_|rk_live_|hf_|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|AKIA|ASIA|AIza|ya29\.|npm_"
            r"|dop_v1_|SG\.)[\w./-]{8,}"
        ),
        plain=_NOTHING,
    ),
    Form(Kind.SECRET, re.compile(r"\bS[ACNOUX][A-Z2-7]{40,}\b"), plain=_NOTHING),
    Form(Kind.SECRET, re.compile(r"\b(?:bearer|basic)\s+(?P<it>[\w.~+/=-]{16,})", _CASE), plain=_NOTHING),
    Form(
        Kind.SECRET,
        re.compile(
            r"""\b(?:pass(?:word|phrase|wd)?|mot de passe|code secret|secret|token|jeton|api[ _-]?key"""
            r"""|clé(?: d['’]api)?|pin|pw|mdp|(?:wi-?fi|access|entry|door|gate|alarm) code"""
            r"""|code (?:wi-?fi|d['’]accès|d['’]entrée|de la porte))\b"""
            r"""(?:\s+(?:is|est|c['’]est)\s+|\s*[=:]\s*)["'«]?\s?"""
            r"""(?P<it>(?!<)(?=[^\s"'»]*[\d_!@#$%^&*+-])[^\s"'»,;]{4,}[^\s"'»,;.])""",
            _CASE,
        ),
        plain=_NOTHING,
    ),
    Form(
        Kind.SECRET,
        re.compile(r"(?<![\w/+-])(?=[\w/+-]*[a-z])(?=[\w/+-]*[A-Z])(?=[\w/+-]*\d)[\w+-]{32,}={0,2}(?![\w/+-])"),
        plain=_NOTHING,
    ),
    Form(
        Kind.URL,
        re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s/@'\"<>]+@[^\s'\"<>]+[^\s'\"<>.,;:!?)]", _CASE),
        plain=_NOTHING,
    ),
    Form(
        Kind.URL,
        re.compile(
            r"\bhttps?://[^\s'\"<>]{0,1000}[?&](?:token|key|api_?key|access_token|auth|sig|signature|secret|password|code|session)"
            r"=[^\s'\"<>]*[^\s'\"<>.,;:!?)]",
            _CASE,
        ),
        plain=_NOTHING,
    ),
    Form(
        Kind.EMAIL,
        re.compile(r"[^\s@<>\"'(),;:=\[\]{}|\\«»]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,}"),
        plain=_NOTHING,
    ),
    Form(
        Kind.EMAIL,
        re.compile(
            r"\b\w[\w+-]{0,30}(?: (?:dot|point) [\w+-]{1,30}){0,3} (?:at|arobase) [\w-]{1,30}"
            r"(?: (?:dot|point) [\w-]{2,30}){0,2} (?:dot|point) (?:com|org|net|info|io|eu|fr|be|ch|ca|de|uk)\b",
            _CASE,
        ),
        plain=_NOTHING,
    ),
    Form(
        Kind.EMAIL,
        re.compile(r"\b\w[\w.+-]{0,40} ?[\[(] ?(?:at|arobase) ?[\])] ?(?:[\w-]{1,63}\.)+[^\W\d_]{2,}", _CASE),
        plain=_NOTHING,
    ),
    Form(Kind.IBAN, re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}\b", _CASE), checksums.iban),
    Form(
        Kind.IBAN,
        # A British account has no check digits of its own: it is told by its words.
        re.compile(r"\b(?:account|acc|a/c)\b[^.\n\d]{0,24}(?P<it>\d{8})(?![\w-]|[.,]\d)", _CASE),
    ),
    Form(Kind.IBAN, re.compile(r"\bsort code\b[^.\n\d]{0,16}(?P<it>\d\d[ -]?\d\d[ -]?\d\d)(?![\w-])", _CASE)),
    Form(Kind.CARD, re.compile(r"(?<![\w.,-])\d(?:[ -]?\d){12,18}(?![\w-]|[.,]\d)"), _card),
    Form(Kind.CARD, re.compile(r"(?<![\w.,-])\d{4}(?:\.\d{4}){3}(?![\w-]|[.,]\d)"), _card),
    Form(
        Kind.NATIONAL_ID,
        re.compile(
            r"(?<![\w-])[1-478][ .]?\d\d[ .]?(?:0[1-9]|[1-9]\d)[ .]?(?:\d\d|2[AB])[ .]?\d{3}[ .]?\d{3}[ .]?\d\d"
            r"(?![\w-])"
        ),
        checksums.french_social_security,
    ),
    Form(
        Kind.NATIONAL_ID,
        re.compile(r"(?<![\w.-])\d{3} \d{3} \d{4}(?![\w-]|[.]\d)"),
        checksums.british_health_service,
    ),
    Form(
        Kind.NATIONAL_ID,
        re.compile(r"\bNHS\b[^.\n\d]{0,24}(?P<it>\d{10})(?![\w-])"),
        checksums.british_health_service,
    ),
    Form(
        Kind.NATIONAL_ID,
        # National Insurance: no check digit, but letters that are never used.
        re.compile(
            r"\b(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ ]?\d\d[ ]?\d\d[ ]?\d\d[ ]?[A-D]\b"
        ),
    ),
    Form(
        Kind.NATIONAL_ID,
        # The United States' social security: no check digit either.
        re.compile(r"(?<![\w.-])(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-]|[.]\d)"),
    ),
    Form(
        Kind.NATIONAL_ID,
        re.compile(r"\b(?:passport|passeport)\b[^.\n\d]{0,24}?(?P<it>\b(?=\w*\d\w*\d\w*\d)[A-Z0-9]{7,9})\b", _CASE),
    ),
    Form(
        Kind.IP,
        re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)"),
        _address_of_a_machine,
        plain=_NOTHING,
    ),
    Form(
        Kind.IP,
        re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:]{4,39}(?![\w:])"),
        _address_of_a_machine,
        plain=_NOTHING,
    ),
    Form(
        Kind.PHONE,
        re.compile(r"(?<![\w+])(?:\+|00)[1-9]\d{0,2}(?:[ .\-–]?\(?\d{1,4}\)?){2,6}(?![\w-]|[.,]\d)"),
        _phone,
    ),
    Form(Kind.PHONE, re.compile(r"(?<![\w.,-])0[1-9](?P<gap>[ .-]?)\d\d(?:(?P=gap)\d\d){3}(?![\w-]|[.,]\d)"), _phone),
    Form(Kind.PHONE, re.compile(r"(?<![\w.,-])\(?0\d{2,4}\)?[ -]\d{3,4}[ -]?\d{3,4}(?![\w-]|[.,]\d)"), _phone),
    Form(Kind.PHONE, re.compile(r"(?<![\w.,-])(?:07\d{3}[ -]?\d{3}[ -]?\d{3}|07\d{9})(?![\w-]|[.,]\d)"), _phone),
    Form(
        Kind.PHONE,
        re.compile(r"(?<![\w.,-])(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}(?![\w-]|[.,]\d)"),
        _phone,
    ),
    Form(Kind.PHONE, re.compile(r"(?<![\w.,-])0\d{2,3}[ /]\d{2,3}(?:[ .]\d\d){2}(?![\w-]|[.,]\d)"), _phone),
    Form(
        Kind.ADDRESS,
        re.compile(
            rf"(?<![\w.,-])\d{{1,5}}[A-Za-z]? (?:{_WORD} ){{1,4}}{_STREET_ENGLISH}"
            rf"(?:,? (?:(?:Apt|Flat|Unit|Suite)\.? ?\w+,? )?{_TOWN}(?:,? [A-Z]{{2}}\b)?)?(?:,? {_POSTCODE}\b)?"
        ),
    ),
    Form(
        Kind.ADDRESS,
        re.compile(
            rf"(?<![\w.,-])\d{{1,4}} ?(?:bis|ter|quater)?,? (?i:{_STREET_FRENCH}) [^\d,;.!?\n]{{2,40}}?"
            rf"(?=,? ?\d{{5}} {_WORD}|[,;.!?\n]|$)(?:,? ?\d{{5}} {_TOWN}(?: (?:CEDEX|Cedex)(?: \d+)?)?)?"
        ),
    ),
    Form(
        Kind.ADDRESS,
        re.compile(
            r"(?<![\w.,-])\d{1,4}[a-z]? "
            r"(?:(?!the |this |that |where |before |after |feet |miles |metres )[a-z']{3,20} ){1,2}"
            r"(?:street|road|avenue|lane|crescent|terrace)\b(?! of\b)",
        ),
    ),
    Form(
        Kind.ADDRESS,
        re.compile(
            rf"\b{_CAPITAL}\w{{2,30}}(?:straße|strasse|weg|gasse) \d{{1,4}}[a-z]?\b(?:, \d{{4,5}} {_WORD})?"
        ),
    ),
    Form(Kind.ADDRESS, re.compile(rf"\b(?:BP|B\.P\.|P\.?O\.? Box) \d{{1,6}}\b(?:,? \d{{5}} {_TOWN})?")),
    Form(Kind.ADDRESS, re.compile(r"\b[A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}\b")),
    Form(Kind.NAME, re.compile(rf"\b{_INTRODUCED}\s+(?P<it>{FULL_NAME})"), _name, plain=_NOTHING),
    Form(Kind.NAME, re.compile(rf"\b{_GREETING},? (?P<it>{_WORD})"), _name, plain=_NOTHING),
    Form(Kind.NAME, re.compile(rf"\b(?:[Tt]his is|[Ii]t['’]s) (?P<it>{FULL_NAME}) speaking\b"), _name, plain=_NOTHING),
    Form(
        Kind.NAME,
        re.compile(rf"\b[Ii](?:['’]m| am) (?P<it>{FULL_NAME})(?=[,.!]? (?:nice|pleased|and you|by the way))"),
        _name,
        plain=_NOTHING,
    ),
    Form(Kind.NAME, re.compile(rf"\b{_TITLE}\.?[ \u00a0](?P<it>{FULL_NAME})"), _name, plain=_NOTHING),
)  # fmt: skip
