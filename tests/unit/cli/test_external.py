"""Addresses of another's PostgreSQL: understood, stripped of the password, or refused without repeating it."""

from __future__ import annotations

import pytest

from cli.database.external import Address, parse, service_url
from cli.errors import CommandError, Exit


@pytest.mark.parametrize(
    ("text", "url", "password"),
    [
        ("postgresql://ada:s3cret@db:5432/mongars", "postgresql://ada@db:5432/mongars", "s3cret"),
        ("postgres://ada@db/mongars", "postgresql://ada@db/mongars", None),
        ("postgresql+asyncpg://ada:p%40ss%3A@db/mongars", "postgresql://ada@db/mongars", "p@ss:"),
        ("postgresql://ada:s@[::1]:5433/m?sslmode=require", "postgresql://ada@[::1]:5433/m?sslmode=require", "s"),
        ("postgresql://ada@db/m?ssl=verify-full", "postgresql://ada@db/m?sslmode=verify-full", None),
        ("postgresql://ada@/m?host=/run/pg&password=a b%2B", "postgresql://ada@/m?host=/run/pg", "a b+"),
        ("postgresql:///m?host=/run/pg", "postgresql:///m?host=/run/pg", None),
        (" postgresql://ada:s@db/m\n", "postgresql://ada@db/m", "s"),
    ],
)
def test_an_address_is_kept_without_its_password(text: str, url: str, password: str | None) -> None:
    assert parse(text) == Address(url, password)


def test_what_was_kept_is_understood_again() -> None:
    once = parse("postgresql://ada:s@/m?host=/run/p g&sslmode=disable")
    assert parse(once.url) == Address(once.url)


@pytest.mark.parametrize(
    "text",
    [
        "mysql://ada:s3cret@db/mongars",
        "ada:s3cret@db",
        "postgresql://ada:s3cret@db",
        "postgresql://ada:s3cret@db:port/mongars",
        "postgresql://ada:s3cret@db/mongars?timeout=3",
        "postgresql://ada:s3cret@db/mongars?nonsense",
        "postgresql://ada:s3cret@[db/mongars",
        "postgresql://ada:s3cret@d b/mongars",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(CommandError, match="MONGARS_DATABASE_URL") as caught:
        parse(text)
    assert "s3cret" not in caught.value.problem + caught.value.remedy
    assert caught.value.code is Exit.USAGE


def test_the_services_get_it_in_their_drivers_words() -> None:
    given = parse("postgres://ada:s@db/m?sslmode=require")
    assert service_url(given.url) == "postgresql+asyncpg://ada@db/m?ssl=require"
