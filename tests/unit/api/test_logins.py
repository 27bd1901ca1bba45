"""Logging in, staying logged in and being logged out; and what a wrong password costs."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import cast

import jwt
import pytest

from libs.shared.bus.base import KeyValue
from libs.shared.contracts.accounts import EndSession, SaveRefresh
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Role
from libs.shared.contracts.sessions import LIMITS
from services.api.errors import InvalidToken
from services.api.lockout import Lockout, Patience
from services.api.passwords import Passwords
from services.api.revocations import Revocations
from services.api.tokens import AccessToken
from tests.unit.api.house import NOW, PASSWORD, SIGNING_KEY, Api, House, open_api

ME = "/api/v1/users/me"


async def until(api: Api, path: str, headers: dict[str, str], status: int) -> None:
    """Asks until a change that is told by broadcast has arrived."""
    async with asyncio.timeout(5):
        while True:
            if (await api.client.get(path, headers=headers)).status_code == status:
                return
            await asyncio.sleep(0.005)  # a refusal by rate would never give the loop a turn


async def test_a_login_gives_tokens_that_work(api: Api) -> None:
    api.house.add_user("ana")
    told = (await api.log_in()).json()
    assert (told["token_type"], told["expires_in"], told["must_change_password"]) == ("bearer", 900, False)
    me = await api.client.get(ME, headers={"Authorization": f"Bearer {told['access_token']}"})
    assert me.json()["name"] == "ana"


async def test_persistence_sees_hashes_of_refresh_tokens_alone(api: Api) -> None:
    api.house.add_user("ana")
    told = (await api.log_in()).json()
    saved = api.house.told(SaveRefresh)[0]
    assert told["refresh_token"] not in saved.model_dump_json()
    assert len(saved.hash) == 64


@pytest.mark.parametrize(("name", "password"), [("ana", "wrong"), ("nobody", PASSWORD), ("a b", PASSWORD), ("", "")])
async def test_a_wrong_name_and_a_wrong_password_are_told_alike(api: Api, name: str, password: str) -> None:
    api.house.add_user("ana")
    answer = await api.log_in(name or "x", password or "x")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_disabled_account_cannot_log_in(api: Api) -> None:
    user = api.house.add_user("ana")
    api.house.users[user.user_id] = user.model_copy(update={"disabled": True})
    assert (await api.log_in()).json()["code"] == "invalid_credentials"


async def test_an_unknown_name_costs_the_same_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def verify(password_hash: str, password: str) -> bool:
        hashed.append(password_hash)
        return False

    monkeypatch.setattr("services.api.passwords.verify_password", verify)
    passwords = Passwords(1)
    assert not await passwords.verify(None, "anything")
    assert not await passwords.verify("$argon2id$known", "anything")
    passwords.close()
    assert hashed[0].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert len(hashed) == 2


async def test_more_logins_than_can_wait_are_refused_at_once() -> None:
    passwords = Passwords(1)
    tries = [asyncio.ensure_future(passwords.verify(None, "x")) for _ in range(20)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    passwords.close()
    assert sum(isinstance(result, Exception) for result in results) == 3


async def test_a_refresh_token_serves_once_and_its_reuse_ends_the_session(api: Api) -> None:
    api.house.add_user("ana")
    first = (await api.log_in()).json()["refresh_token"]

    async def refresh(token: str) -> tuple[int, str]:
        answer = await api.client.post("/api/v1/auth/refresh", json={"refresh_token": token})
        return answer.status_code, answer.json().get("refresh_token", "")

    status, second = await refresh(first)
    assert status == 200
    assert (await refresh(first))[0] == 401
    assert (await refresh(second))[0] == 401


async def a_logout_ends_the_access_token(api: Api) -> None:
    session = await api.session()
    assert (await api.client.get(ME, headers=session)).status_code == 200
    assert (await api.client.post("/api/v1/auth/logout", headers=session)).status_code == 204
    after = await api.client.get(ME, headers=session)
    assert after.status_code == 401
    assert after.json()["code"] == "invalid_token"


async def test_a_logout_ends_the_access_token_and_the_family(api: Api) -> None:
    await a_logout_ends_the_access_token(api)
    assert api.house.told(EndSession)[0].family_id is not None
    assert not api.house.refresh


async def test_without_the_revocation_check_a_logout_would_end_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unchecked(*_: object) -> None: ...

    monkeypatch.setattr(Revocations, "check", unchecked)
    with pytest.raises(AssertionError):
        await a_logout_ends_the_access_token(api)


async def a_logout_outlives_a_restart(house: House) -> None:
    async with open_api(house) as before:
        session = await before.session()
        await before.client.post("/api/v1/auth/logout", headers=session)
    async with open_api(house) as after:
        assert (await after.client.get(ME, headers=session)).status_code == 401


async def test_a_logout_outlives_a_restart(house: House) -> None:
    await a_logout_outlives_a_restart(house)


async def test_a_revocation_kept_only_in_the_process_would_be_lost(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgetful(self: Revocations, name: str, value: bytes) -> None:
        self._remember(name, value)

    monkeypatch.setattr(Revocations, "_put", forgetful)
    with pytest.raises(AssertionError):
        await a_logout_outlives_a_restart(house)


async def test_a_second_api_hears_of_a_logout(house: House) -> None:
    async with open_api(house) as one, open_api(house) as other:
        session = await one.session()
        assert (await other.client.get(ME, headers=session)).status_code == 200
        await one.client.post("/api/v1/auth/logout", headers=session)
        await until(other, ME, session, 401)


async def test_an_end_that_is_told_while_it_is_asked_for_is_not_overlooked() -> None:
    class Slow:
        """A bucket that was read just before the change arrived."""

        async def watch(self, handler: Callable[[str, bytes | None], Awaitable[None]]) -> None:
            self.tell = handler

        async def get(self, key: str) -> bytes | None:
            if key.startswith("revoked."):
                await self.tell(key, b"1")
            return None

    token = AccessToken(user_id="u", role="user", family="f", jti="j", issued_at=NOW, expires_at=NOW + 900)
    revocations = Revocations(cast(KeyValue, Slow()), fresh_s=60, clock=lambda: NOW, steady=lambda: NOW)
    await revocations.start()
    for _ in range(2):
        with pytest.raises(InvalidToken):
            await revocations.check(token)


async def test_logging_out_everywhere_ends_the_other_sessions_too(api: Api) -> None:
    one, other = await api.session(), await api.session()
    api.clock.now += 1
    await api.client.post("/api/v1/auth/logout", headers=one, json={"everywhere": True})
    assert (await api.client.get(ME, headers=other)).status_code == 401
    assert (await api.client.get(ME, headers=await api.session())).status_code == 200


async def test_an_access_token_ends_by_itself(api: Api) -> None:
    session = await api.session()
    api.clock.now += 901
    answer = await api.client.get(ME, headers=session)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


def forged_tokens() -> dict[str, str]:
    """Tokens that must not pass, each wrong in one way."""
    claims = {
        "iss": "mongars",
        "aud": "mongars-api",
        "sub": "id-ana",
        "role": "admin",
        "family": "f",
        "jti": "j",
        "iat": NOW,
        "exp": NOW + 900,
    }
    unsigned = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "none", "typ": "JWT"}, claims)
    )
    found = {
        "unsigned": unsigned + ".",
        "another key": jwt.encode(claims, b"another key of thirty-two bytes.", algorithm="HS256"),
        "another algorithm": jwt.encode(claims, SIGNING_KEY * 2, algorithm="HS512"),
        "another issuer": jwt.encode({**claims, "iss": "x"}, SIGNING_KEY, algorithm="HS256"),
        "another audience": jwt.encode({**claims, "aud": "x"}, SIGNING_KEY, algorithm="HS256"),
    }
    for missing in ("iss", "aud", "sub", "jti", "iat", "exp", "family"):
        rest = {name: value for name, value in claims.items() if name != missing}
        found[f"no {missing}"] = jwt.encode(rest, SIGNING_KEY, algorithm="HS256")
    return found


async def forged_tokens_are_refused(api: Api) -> None:
    api.house.add_user("ana", Role.ADMIN)
    for way, token in forged_tokens().items():
        answer = await api.client.get(ME, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, way
        assert answer.json()["code"] == "invalid_token", way


async def test_forged_tokens_are_refused(api: Api) -> None:
    await forged_tokens_are_refused(api)


async def test_unverified_signatures_would_let_forged_tokens_in(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    real = jwt.decode

    def trusting(token: str, *_: object, **more: object) -> object:
        return real(token, options={"verify_signature": False})

    monkeypatch.setattr("services.api.tokens.jwt.decode", trusting)
    with pytest.raises(AssertionError):
        await forged_tokens_are_refused(api)


async def test_a_changed_role_counts_at_once(api: Api) -> None:
    session = await api.session("root", Role.ADMIN)
    assert (await api.client.get("/api/v1/users", headers=session)).status_code == 200
    api.house.users["id-root"] = api.house.users["id-root"].model_copy(update={"role": Role.USER})
    await api.house.account_changed("id-root")
    await until(api, "/api/v1/users", session, 403)


async def test_an_administrator_ends_the_sessions_of_whom_they_change(api: Api) -> None:
    session, admin = await api.session("ana"), await api.session("root", Role.ADMIN)
    api.clock.now += 1
    await api.client.patch("/api/v1/users/id-ana", json={"disabled": True}, headers=admin)
    assert (await api.client.get(ME, headers=session)).status_code == 401


async def test_a_one_time_password_only_serves_to_choose_another(api: Api) -> None:
    session = await api.session("new", must_change_password=True)
    refused = await api.client.get(ME, headers=session)
    assert (refused.status_code, refused.json()["code"]) == (403, "password_change_required")
    assert (await api.ask(session)).status_code == 403
    body = {"current_password": PASSWORD, "new_password": "another long password"}
    api.clock.now += 1
    told = (await api.client.post("/api/v1/auth/password", json=body, headers=session)).json()
    after = {"Authorization": f"Bearer {told['access_token']}"}
    assert (await api.client.get(ME, headers=after)).status_code == 200
    assert (await api.client.get(ME, headers=session)).status_code == 401
    assert (await api.log_in("new", "another long password")).status_code == 200
    assert (await api.log_in("new", PASSWORD)).status_code == 401


async def test_a_short_password_is_refused(api: Api) -> None:
    body = {"current_password": PASSWORD, "new_password": "short"}
    answer = await api.client.post("/api/v1/auth/password", json=body, headers=await api.session())
    assert answer.status_code == 422
    assert "short" not in answer.text.replace("new_password", "")


def test_waits_begin_after_the_allowed_failures_and_double_to_a_bound() -> None:
    patience = Patience(allowed=5, first_s=2, longest_s=900)
    assert [patience.delay_s(n) for n in (0, 4, 5, 6, 7, 13, 14, 10**6)] == [0, 0, 2, 4, 8, 512, 900, 900]


async def wrong_passwords_lock_out_even_after_a_restart(house: House) -> None:
    house.add_user("ana")
    async with open_api(house) as before:
        clock = before.clock
        for _ in range(5):
            assert (await before.log_in(password="wrong password")).status_code == 401
        locked = await before.log_in()
        assert (locked.status_code, locked.json()["code"]) == (429, "locked_out")
        assert locked.headers["retry-after"] == "2"
    async with open_api(house, clock) as after:
        assert (await after.log_in("ANA")).status_code == 429
        clock.now += 2.5
        assert (await after.log_in()).status_code == 200
        assert (await after.log_in()).status_code == 200


async def test_wrong_passwords_lock_out_even_after_a_restart(house: House) -> None:
    await wrong_passwords_lock_out_even_after_a_restart(house)


async def test_failures_kept_only_in_the_process_would_be_forgotten(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgetful(*_: object) -> None: ...

    monkeypatch.setattr(Lockout, "failed", forgetful)
    with pytest.raises(AssertionError):
        await wrong_passwords_lock_out_even_after_a_restart(house)


async def test_guesses_at_the_same_time_count_before_they_are_checked(api: Api) -> None:
    api.house.add_user("ana")
    answers = await asyncio.gather(*(api.log_in(password=f"guess {n}") for n in range(12)))
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 7


async def test_one_address_is_locked_out_over_many_names(api: Api) -> None:
    for n in range(20):
        assert (await api.log_in(f"name{n}")).status_code == 401
    assert (await api.log_in("name20")).status_code == 429


async def test_a_login_that_could_not_be_checked_is_no_failure(api: Api) -> None:
    api.house.add_user("ana")
    await api.house.buses[Principal.PERSISTENCE].drain(1.0)
    for _ in range(7):
        assert (await api.log_in()).status_code == 503


async def test_names_and_addresses_are_not_kept_in_clear(api: Api) -> None:
    api.house.add_user("ana")
    await api.log_in(password="wrong password")
    kept = list(api.house.broker.bucket(LIMITS).entries)
    assert kept
    assert not any("ana" in key or "127.0.0.1" in key for key in kept)
