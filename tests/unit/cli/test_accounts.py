"""What the command works out about accounts and keys by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cli.accounts import expiry, key_scopes, only, require_name
from cli.errors import CommandError, Exit
from libs.shared.contracts.accounts import User
from libs.shared.contracts.common import Role

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def user(name: str) -> User:
    return User(user_id=name, name=name, role=Role.USER, disabled=False, created_at=NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("36h", NOW + timedelta(hours=36)),
        ("90d", NOW + timedelta(days=90)),
        ("4w", NOW + timedelta(weeks=4)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T10:00:00+02:00", datetime(2027, 1, 31, 8, tzinfo=UTC)),
    ],
)
def test_periods_and_dates_say_when_a_key_ends(text: str, expected: datetime) -> None:
    assert expiry(text, NOW) == expected


@pytest.mark.parametrize("text", ["soon", "10", "5m", "", "2026-04-30", "1d2h", "999999d"])
def test_what_is_neither_or_has_passed_is_refused(text: str) -> None:
    with pytest.raises(CommandError) as caught:
        expiry(text, NOW)
    assert caught.value.code is Exit.USAGE
    assert caught.value.remedy


def test_the_only_account_needs_no_naming() -> None:
    assert only([user("ada")]).name == "ada"


def test_several_accounts_have_to_be_chosen_from() -> None:
    with pytest.raises(CommandError, match="several accounts") as caught:
        only([user("ada"), user("bob")])
    assert "ada, bob" in caught.value.remedy


@pytest.mark.parametrize(
    ("asked", "role", "given"),
    [
        ([], Role.USER, ()),
        (["user", "user"], Role.USER, ("user",)),
        (["metrics", "operator"], Role.OPERATOR, ("metrics", "operator")),
        (["admin"], Role.ADMIN, ("admin",)),
    ],
)
def test_scopes_are_given_up_to_the_owners_role(asked: list[str], role: Role, given: tuple[str, ...]) -> None:
    assert key_scopes(asked, "ada", role) == given


@pytest.mark.parametrize(
    ("scope", "role", "code"),
    [
        ("king", Role.ADMIN, Exit.USAGE),
        ("operator", Role.USER, Exit.REFUSED),
        ("admin", Role.OPERATOR, Exit.REFUSED),
        ("metrics", Role.USER, Exit.REFUSED),
    ],
)
def test_scopes_that_would_be_without_effect_are_refused(scope: str, role: Role, code: Exit) -> None:
    with pytest.raises(CommandError, match=scope) as caught:
        key_scopes([scope], "ada", role)
    assert caught.value.code is code
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\nb"])
def test_a_keys_name_has_to_be_readable(name: str) -> None:
    with pytest.raises(CommandError, match="can't be a key's name"):
        require_name(name)
