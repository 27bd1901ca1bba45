"""People's data to feed through the installation, and the check that none of it came out in logs, metrics or errors."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Canaries:
    """Values that occur nowhere else: whatever contains one of them has leaked."""

    name: str = "Zéphyrine Quillivéré"
    word: str = "xanthoprotéique"
    """From what the person says."""
    email: str = "zephyrine.quillivere+chat@courriel-exemple.quebec"
    ipv4: str = "203.0.113.77"
    ipv6: str = "2001:db8:fe11::c0de:77"
    phone: str = "+1 418 555 0177"
    password: str = "Gr0seille-à-maquereau-7719"
    api_key: str = "mgk_Zq7vT4xLw9Nn2RkPb6YcHs8Jd3Gf5Ma1Ue0Io-Bt_Xv"
    refresh_token: str = "Vq3mTzN8rYw5KpXc2LbHdJ7sGfA9eUo4iRt6BnMxQ1Z"
    jwt: str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1X3F1aWxsaSJ9.Qx7pLr2ZtVw9NbYkMcHs4JdGfA6eUo1iRt8BnXv3PzQ"
    nkey_seed: str = "SUAKQZ7XVWM4T2YLNPRHC6JD5GFBEAUOIS3KTMXQZVWNYLRPHC7JDGFBEA"
    user_id: str = "u_quillivere_77xk"
    conversation_id: str = "c_framboisier_77xk"


CANARIES = Canaries()


def _forms(value: str) -> Iterator[str]:
    """``value`` as it may be written: plain, as a Python, JSON or URL literal, and in base64."""
    yield value
    yield value.lower()
    yield json.dumps(value)[1:-1]
    yield ascii(value)[1:-1]
    yield quote(value)
    yield quote(value, safe="")
    # Base64 of a text inside a longer one depends on where it begins: of each way, the part that doesn't.
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + value.encode()).decode()
        yield encoded[4 if shift else 0 : -4]


def _parts(canaries: Canaries) -> dict[str, str]:
    whole = asdict(canaries)
    first, last = canaries.name.split()
    return {**whole, "first_name": first, "last_name": last, "email_domain": canaries.email.split("@")[1]}


def leaks(text: str, canaries: Canaries = CANARIES) -> set[str]:
    """Which of the canaries stand in ``text``, in whatever form."""
    low = unicodedata.normalize("NFC", text).lower()
    return {field for field, value in _parts(canaries).items() for form in _forms(value) if form.lower() in low}


def assert_nothing_personal(text: str, canaries: Canaries = CANARIES) -> None:
    """Fails with the kinds of canaries found in ``text``, and where."""
    found = sorted(leaks(text, canaries))
    if found:
        where = [line[:300] for line in text.splitlines() if leaks(line, canaries)]
        raise AssertionError(f"personal data leaked: {', '.join(found)}; first in: {where[:1]}")


def looks_personal(text: str) -> list[str]:
    """Whatever in ``text`` has the form of an e-mail address, a token or a key, of anyone."""
    shapes = (r"[\w.+-]+@[\w-]+\.[a-z]{2,}", r"\beyJ[\w-]+\.[\w-]+", r"\bmgk_\w+", r"\bS[UAC][A-Z2-7]{56}\b")
    return [match.group() for shape in shapes for match in re.finditer(shape, text)]
