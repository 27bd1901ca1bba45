"""What a caller may ask for in a minute, told in headers and kept over a restart."""

from __future__ import annotations

import pytest

from libs.shared.contracts.sessions import LIMITS
from services.api.rate_limits import Bucket, RateLimits
from tests.unit.api.house import Api, Clock, House, open_api

MODELS = "/v1/models"


def test_a_bucket_refills_within_a_minute_and_never_over() -> None:
    bucket = Bucket(60, 0.0, 0.0)
    bucket.refill(30.0)
    assert bucket.level == 30.0
    bucket.refill(3600.0)
    assert bucket.level == 60.0
    bucket.refill(0.0)
    assert bucket.level == 60.0


async def test_answers_tell_what_is_left(api: Api) -> None:
    headers = (await api.client.get(MODELS, headers=api.key())).headers
    assert headers["ratelimit-limit"] == headers["x-ratelimit-limit-requests"] == "3000"
    assert headers["ratelimit-remaining"] == headers["x-ratelimit-remaining-requests"] == "2999"
    assert headers["ratelimit-policy"] == "3000;w=60"
    assert headers["ratelimit-reset"] == "1"
    assert headers["x-ratelimit-reset-requests"] == "0.020s"
    assert headers["x-ratelimit-limit-tokens"] == "1000000"


async def the_limit_holds(house: House) -> None:
    async with open_api(house, rate_limit_per_minute=3) as api:
        one, other = api.key("ana"), api.key("bob")
        statuses = [(await api.client.get(MODELS, headers=one)).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = await api.client.get(MODELS, headers=one)
        assert refused.json()["error"] == {
            "message": "Too many requests this minute.",
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limited",
            "retry_after_s": 20,
            "limit": "requests",
        }
        assert refused.headers["retry-after"] == "20"
        assert refused.headers["ratelimit-remaining"] == "0"
        assert (await api.client.get(MODELS, headers=other)).status_code == 200
        api.clock.now += 20
        assert (await api.client.get(MODELS, headers=one)).status_code == 200


async def test_the_limit_holds_for_each_key_apart(house: House) -> None:
    await the_limit_holds(house)


async def test_a_limit_that_takes_nothing_would_not_hold(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RateLimits, "take", lambda *_: None)
    with pytest.raises(AssertionError):
        await the_limit_holds(house)


async def a_used_up_limit_outlives_a_restart(house: House) -> None:
    clock = Clock()
    async with open_api(house, clock, rate_limit_per_minute=2) as before:
        key = before.key()
        for _ in range(2):
            await before.client.get(MODELS, headers=key)
    clock.now += 1
    async with open_api(house, clock, rate_limit_per_minute=2) as after:
        assert (await after.client.get(MODELS, headers=key)).status_code == 429


async def test_a_used_up_limit_outlives_a_restart(house: House) -> None:
    await a_used_up_limit_outlives_a_restart(house)


async def test_a_limit_that_is_not_saved_would_begin_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unsaved(*_: object) -> None: ...

    monkeypatch.setattr(RateLimits, "save", unsaved)
    with pytest.raises(AssertionError):
        await a_used_up_limit_outlives_a_restart(house)


@pytest.mark.parametrize(
    "saved", [b'{"recall_k": 3}', b"not json", b"[]", b'{"ana": [1, 2]}', b'{"ana": [NaN, null, 0]}', b'"x"']
)
async def test_saved_limits_that_cannot_be_read_keep_the_gateway_from_nothing(house: House, saved: bytes) -> None:
    house.broker.bucket(LIMITS).set("rates", saved)
    async with open_api(house, rate_limit_per_minute=2) as api:
        assert (await api.client.get(MODELS, headers=api.key())).headers["ratelimit-remaining"] == "1"


async def test_tokens_that_an_answer_used_are_charged_to_the_next_request(house: House) -> None:
    async with open_api(house, rate_limit_tokens_per_minute=10) as api:
        key = api.key()
        assert (await api.ask(key)).status_code == 200
        assert (await api.ask(key, stream=True)).status_code == 200
        refused = await api.ask(key)
        assert (refused.status_code, refused.json()["error"]["limit"]) == (429, "tokens")
        api.clock.now += 60
        assert (await api.ask(key)).status_code == 200


async def test_limits_that_are_off_tell_nothing(house: House) -> None:
    async with open_api(house, rate_limit_per_minute=0, rate_limit_tokens_per_minute=0) as api:
        answer = await api.client.get(MODELS, headers=api.key())
        assert not [name for name in answer.headers if "ratelimit" in name]


async def test_no_request_writes_to_the_bucket(api: Api) -> None:
    key = api.key()
    for _ in range(5):
        await api.client.get(MODELS, headers=key)
    bucket = api.house.broker.bucket(LIMITS)
    assert not bucket.entries
    await api.parts.limits.save(api.parts.bus.bucket(LIMITS))
    assert list(bucket.entries) == ["rates"]


def test_the_callers_kept_are_bounded() -> None:
    limits = RateLimits(requests_per_minute=5, tokens_per_minute=0, clock=lambda: 0.0)
    for n in range(10_000):
        limits.take(limits.of(f"caller{n}"))
    assert len(limits._callers) <= 4096
