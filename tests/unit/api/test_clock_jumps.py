"""The clock of the machine is set: nobody is locked out by it, and nothing that was ended comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.api.house import NOW, Api, Clock, House, open_api

ME = "/api/v1/users/me"
HOUR, YEAR = 3600.0, 365 * 86_400.0
JUMPS = [2 * HOUR, -2 * HOUR, YEAR]


@dataclass
class Clocks:
    """The wall's, which somebody sets, and the one that only ever goes on."""

    wall: Clock
    steady: Clock
    api: Api

    def go_on(self, seconds: float) -> None:
        self.wall.now += seconds
        self.steady.now += seconds


@pytest.fixture
async def clocks(house: House) -> AsyncIterator[Clocks]:
    wall, steady = Clock(), Clock()
    async with open_api(house, wall, steady=steady, credential_cache_s=60) as api:
        yield Clocks(wall, steady, api)


async def status(clocks: Clocks, headers: dict[str, str]) -> int:
    return (await clocks.api.client.get(ME, headers=headers)).status_code


async def refreshed(clocks: Clocks, token: str) -> dict[str, str]:
    answer = await clocks.api.client.post("/api/v1/auth/refresh", json={"refresh_token": token})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.mark.parametrize("jump", [2 * HOUR, -2 * HOUR])
async def test_a_session_goes_on_after_one_refresh(clocks: Clocks, jump: float) -> None:
    clocks.api.house.add_user("ana")
    told = (await clocks.api.log_in()).json()
    held = {"Authorization": f"Bearer {told['access_token']}"}
    assert await status(clocks, held) == 200
    clocks.wall.now += jump
    assert await status(clocks, held) == 401, "no access token outlives its quarter of an hour by a jump"
    assert await status(clocks, await refreshed(clocks, told["refresh_token"])) == 200


async def test_a_correction_of_seconds_is_noticed_by_nobody(clocks: Clocks) -> None:
    held = await clocks.api.session("ana")
    clocks.wall.now -= 3
    assert await status(clocks, held) == 200


@pytest.mark.parametrize("jump", JUMPS)
async def test_api_keys_without_an_end_go_on(clocks: Clocks, jump: float) -> None:
    key = clocks.api.key("ana")
    assert await status(clocks, key) == 200
    clocks.wall.now += jump
    assert await status(clocks, key) == 200


async def test_an_api_key_ends_by_the_calendar(clocks: Clocks) -> None:
    ends = datetime.fromtimestamp(NOW, UTC) + timedelta(days=1)
    key = clocks.api.key("ana", expires_at=ends)
    assert await status(clocks, key) == 200
    clocks.wall.now += YEAR
    assert await status(clocks, key) == 401


@pytest.mark.parametrize("jump", JUMPS)
async def test_logging_in_works_after_any_jump(clocks: Clocks, jump: float) -> None:
    clocks.api.house.add_user("ana")
    assert (await clocks.api.log_in()).status_code == 200
    clocks.wall.now += jump
    assert (await clocks.api.log_in()).status_code == 200


async def test_a_wait_after_wrong_passwords_is_no_longer_by_a_clock_that_was_set_back(clocks: Clocks) -> None:
    clocks.api.house.add_user("ana")
    for _ in range(6):
        await clocks.api.log_in(password="wrong password")
    clocks.wall.now -= 2 * HOUR
    refused = await clocks.api.log_in()
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) <= 60
    clocks.go_on(60)
    assert (await clocks.api.log_in()).status_code == 200


@pytest.mark.parametrize("jump", JUMPS)
async def test_sessions_that_were_ended_after_a_jump_stay_ended(clocks: Clocks, jump: float) -> None:
    user = clocks.api.house.add_user("ana")
    held = {"Authorization": f"Bearer {(await clocks.api.log_in()).json()['access_token']}"}
    clocks.wall.now += jump
    await clocks.api.parts.logins.end_sessions(user.user_id)
    for _ in range(23):  # nearly two hours, in which the clock doesn't come to where the token was issued
        clocks.go_on(300)
        assert await status(clocks, held) == 401


@pytest.mark.parametrize("jump", JUMPS)
async def test_what_is_believed_of_a_key_is_believed_no_longer(clocks: Clocks, jump: float) -> None:
    key = clocks.api.key("ana")
    assert await status(clocks, key) == 200
    clocks.wall.now += jump
    clocks.api.house.keys.clear()  # and nobody was told
    clocks.go_on(61)
    assert await status(clocks, key) == 401


@pytest.mark.parametrize("jump", JUMPS)
async def test_the_rate_limit_neither_locks_out_nor_opens_up(house: House, jump: float) -> None:
    wall = Clock()
    async with open_api(house, wall, rate_limit_per_minute=5) as api:
        key = api.key("ana")
        for _ in range(5):
            assert (await api.client.get(ME, headers=key)).status_code == 200
        assert (await api.client.get(ME, headers=key)).status_code == 429
        wall.now += jump
        await api.client.get(ME, headers=key)
        wall.now += 61
        answers = [(await api.client.get(ME, headers=key)).status_code for _ in range(6)]
        assert answers == [200] * 5 + [429]
