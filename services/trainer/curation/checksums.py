"""Whether a number is what it looks like, by the digits that were put into it to catch slips of the pen. Pure."""

from __future__ import annotations

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20,
    "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GI": 23, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IS": 26, "IT": 27,
    "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24,
    "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26,
}  # fmt: skip
"""Characters of an account number by its country, from the register of ISO 13616."""


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: bank cards."""
    total = 0
    for at, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + at % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def iban(text: str) -> bool:
    """ISO 13616 and ISO 7064 MOD 97-10, of an account number without spaces in capitals."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def french_social_security(text: str) -> bool:
    """The NIR of INSEE: 13 characters and a key, 97 less the number modulo 97; Corsica's departments are 2A and 2B."""
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and int(text[13:]) == 97 - int(number) % 97


def british_health_service(digits: str) -> bool:
    """The NHS number: ten digits, weighted 10 to 2, modulo 11."""
    check = -sum(int(digit) * (10 - at) for at, digit in enumerate(digits[:9])) % 11
    return check != 10 and check == int(digits[9])
