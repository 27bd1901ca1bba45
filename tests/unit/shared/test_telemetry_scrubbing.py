"""What is logged names nobody: fields by their name, texts by what they look like."""

from __future__ import annotations

import ipaddress
import json
import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from libs.shared.telemetry import scrubbing
from libs.shared.telemetry.scrubbing import scrub_field, scrub_text, scrub_value
from tests.support.personal_data import CANARIES, assert_nothing_personal

_WORDS = st.text(string.ascii_letters + "éèàç ", max_size=30)
_LOCAL = st.text(string.ascii_letters + string.digits + "._%+-é", min_size=1, max_size=20)
_LABEL = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=10)
_EMAILS = st.builds(lambda a, b, c: f"{a}@{b}.{c}", _LOCAL, _LABEL, st.sampled_from(["com", "ca", "québec", "museum"]))
_BASE64URL = string.ascii_letters + string.digits + "-_"
_OPENERS = st.sampled_from(["", " ", "(", "[", '"', "'", "<", ", ", ": ", "=", "\n"])
_CLOSERS = st.sampled_from(["", " ", ")", "]", '"', "'", ">", ",", ";", "\n", ". Next"])


def left_of(text: str) -> str:
    """What scrubbing leaves of ``text``, without its marks: a generated secret may be one of their words."""
    return re.sub(r"<[a-z-]+>", "", scrub_text(text))


def around(secret: str, before: str, opener: str, closer: str, after: str) -> str:
    return left_of(f"{before}{opener or ' '}{secret}{closer or ' '}{after}")


@given(_EMAILS, _WORDS, _OPENERS, _CLOSERS, _WORDS)
def test_no_email_address_survives(email: str, before: str, opener: str, closer: str, after: str) -> None:
    assert email not in around(email, before, opener, closer, after)


@given(st.ip_addresses(), _WORDS, _OPENERS, _CLOSERS, _WORDS)
def test_no_foreign_ip_address_survives(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, before: str, opener: str, closer: str, after: str
) -> None:
    assume(not address.is_loopback and not address.is_unspecified)
    for form in {str(address), address.exploded}:
        assert form not in around(form, before, opener, closer, after)


@given(st.ip_addresses(v=4), st.integers(1, 65535))
def test_an_address_with_a_port_or_in_an_ipv6_is_an_address_too(address: ipaddress.IPv4Address, port: int) -> None:
    assume(not address.is_loopback and not address.is_unspecified)
    assert str(address) not in scrub_text(f"connection from {address}:{port} refused")
    assert str(address) not in scrub_text(f"peer ::ffff:{address} left")


@pytest.mark.parametrize("local", ["127.0.0.1", "0.0.0.0", "::1", "nats://127.0.0.1:4222"])
def test_the_machine_s_own_addresses_stay_readable(local: str) -> None:
    assert scrub_text(f"listening on {local}") == f"listening on {local}"


@given(st.text(_BASE64URL, min_size=20, max_size=60), _WORDS, _OPENERS, _CLOSERS, _WORDS)
def test_no_api_key_survives(key: str, before: str, opener: str, closer: str, after: str) -> None:
    for prefix in ("mgk_", "sk-", "hf_"):
        assert prefix + key not in around(prefix + key, before, opener, closer, after)


@given(st.text(_BASE64URL, min_size=8, max_size=60), _WORDS)
def test_no_bearer_token_survives(token: str, after: str) -> None:
    assert left_of(f"X: Bearer {token} {after}") == f"X:  {after}"
    assert left_of(f"sent 'bearer {token}'") == "sent ''"


@given(*[st.text(_BASE64URL, min_size=6, max_size=40)] * 3, _OPENERS, _CLOSERS)
def test_no_jwt_survives(header: str, body: str, signature: str, opener: str, closer: str) -> None:
    assert around(f"eyJ{header}.{body}.{signature}", "", opener, closer, "").strip() in ((opener + closer).strip(), "")


@given(
    st.sampled_from("UACNOX"), st.text(string.ascii_uppercase + "234567", min_size=56, max_size=56), _OPENERS, _CLOSERS
)
def test_no_nkey_seed_survives(kind: str, seed: str, opener: str, closer: str) -> None:
    assert seed not in around(f"S{kind}{seed}", "", opener, closer, "")


@given(st.text(string.ascii_letters + string.digits + "!%$-_.~:", min_size=6, max_size=30))
def test_no_password_in_a_url_survives(password: str) -> None:
    scrubbed = scrub_text(f"postgresql+asyncpg://zoe:{password}@db.internal/mongars")
    assert scrubbed == "postgresql+asyncpg://<credentials>@db.internal/mongars"


@given(st.text(_BASE64URL, min_size=43, max_size=43))
def test_a_random_token_of_256_bits_is_known_by_its_looks(token: str) -> None:
    assume(all(re.search(kind, token) for kind in ("[a-z]", "[A-Z]", r"\d")))
    assert scrub_text(f"refused {token} twice") == "refused <secret> twice"


@pytest.mark.parametrize("field", ["user_id", "password", "conversation_id", "token", "api_key", "name", "session"])
@pytest.mark.parametrize("form", ["{}={}", "{}='{}'", '"{}": "{}"', "'{}': '{}'", "{}: {}"])
def test_a_named_value_in_a_text_is_hidden(field: str, form: str) -> None:
    assert "quillivere" not in scrub_text("lost " + form.format(field, "quillivere") + ", again")


def test_query_strings_and_home_folders_are_hidden() -> None:
    assert scrub_text("GET /api/v1/memories?q=Marie&k=10 200") == "GET /api/v1/memories?q=<hidden>&k=<hidden> 200"
    assert scrub_text("/home/marie/.local/state/mongars/logs") == "~/.local/state/mongars/logs"


@pytest.mark.parametrize(
    "plain",
    [
        "turn_completed",
        "all-MiniLM-L6-v2@1110a243",
        "std::vector<int> at 12:34:56",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "mongars.v1.cognition.turn_completed",
        "nats-server 2.15.1",
        "0af7651916cd43dd8448eb211c80319c",
        "services/api/routes/chat.py:31 complete",
        "1,024 prompt tokens in 3.5 s",
    ],
)
def test_what_names_nobody_stays_as_it_is(plain: str) -> None:
    assert scrub_text(plain) == plain


@pytest.mark.parametrize("field", sorted(scrubbing.IDENTIFIERS))
def test_an_identifier_becomes_a_stable_pseudonym(field: str) -> None:
    first, again, other = (scrub_field(field, value) for value in ("marie", "marie", "paul"))
    assert first == again != other
    assert re.fullmatch(r"~[0-9a-f]{8}", first)


@pytest.mark.parametrize(
    "field", ["password", "refresh_token", "X-Api-Key", "Authorization", "password_hash", "ticket"]
)
def test_a_secret_field_is_hidden_whatever_it_holds(field: str) -> None:
    assert scrub_field(field, "abc") == scrub_field(field, 5) == scrub_field(field, {"a": 1}) == "<hidden>"


@pytest.mark.parametrize(("field", "value"), [("prompt_tokens", 5), ("token_type", "input"), ("code", "no_model")])
def test_a_field_that_only_sounds_secret_is_kept(field: str, value: object) -> None:
    assert scrub_field(field, value) == value


@pytest.mark.parametrize("field", sorted(scrubbing.CONTENT))
def test_of_content_only_the_size_is_kept(field: str) -> None:
    assert scrub_field(field, "hello") == "<5>"


class _Talkative:
    def __repr__(self) -> str:
        return CANARIES.name

    __str__ = __repr__


def test_an_object_never_speaks_for_itself() -> None:
    assert scrub_value(_Talkative()) == "<_Talkative>"
    assert_nothing_personal(json.dumps(scrub_value({"a": [_Talkative(), {"b": _Talkative()}]})))


_JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


@given(_JSON_LIKE)
def test_anything_becomes_bounded_json(value: object) -> None:
    text = json.dumps(scrub_value(value), allow_nan=False)
    assert "\n" not in text


def test_what_is_deep_long_or_endless_is_cut() -> None:
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    assert len(json.dumps(scrub_value(deep))) < 100
    assert len(scrub_value(list(range(10_000)))) == scrubbing.MAX_ITEMS
    assert len(scrub_text("a " * 100_000)) == scrubbing.MAX_TEXT


def test_an_address_across_the_cut_does_not_survive() -> None:
    for shift in range(60):
        text = "x" * (scrubbing.MAX_TEXT - shift) + f" {CANARIES.email} "
        assert_nothing_personal(scrub_text(text))


_PATTERNS = ["_JWT", "_NKEY", "_API_KEY", "_BEARER", "_USERINFO", "_QUERY", "_NAMED_VALUE", "_EMAIL", "_IPV4", "_IPV6"]
_EXAMPLES = {
    "_JWT": f"got {CANARIES.jwt[:40]}",
    "_NKEY": f"seed {CANARIES.nkey_seed[:46]}",
    "_API_KEY": "key mgk_zq7vt4xlw9nn",
    "_BEARER": "Bearer quillivere",
    "_USERINFO": "nats://quillivere@broker/x",
    "_QUERY": "/find?q=quillivere",
    "_NAMED_VALUE": "user_id=quillivere",
    "_EMAIL": f"to {CANARIES.email}",
    "_IPV4": f"from {CANARIES.ipv4}",
    "_IPV6": f"from {CANARIES.ipv6}",
}


@pytest.mark.parametrize("pattern", _PATTERNS)
def test_of_the_test__each_pattern_is_needed(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    example = _EXAMPLES[pattern]
    assert scrub_text(example) != example
    monkeypatch.setattr(scrubbing, pattern, re.compile(r"(?!)()"))
    assert scrub_text(example) == example
