"""Numbers that are published as examples pass, and a slip of the pen in any of them is noticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.trainer.curation.checksums import british_health_service, french_social_security, iban, luhn

RIGHT: list[tuple[Callable[[str], bool], str]] = [
    (luhn, "4111111111111111"),
    (luhn, "378282246310005"),
    (iban, "GB82WEST12345698765432"),
    (iban, "FR1420041010050500013M02606"),
    (french_social_security, "255081416802538"),
    (french_social_security, "182032A00100117"[:13] + f"{97 - 1820319001001 % 97:02}"),
    (british_health_service, "9434765919"),
]


@pytest.mark.parametrize(("check", "number"), RIGHT)
def test_a_right_number_passes_and_any_wrong_digit_is_noticed(check: Callable[[str], bool], number: str) -> None:
    assert check(number)
    for at in range(len(number)):
        if number[at].isdigit():
            assert not check(number[:at] + str((int(number[at]) + 1) % 10) + number[at + 1 :]), at


def test_an_account_of_another_length_is_none() -> None:
    assert not iban("GB82WEST123456987654321")
    assert not iban("XX82WEST12345698765432")
