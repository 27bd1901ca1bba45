"""A made set of sentences with personal things planted in them, and of sentences that only look as if they had some."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.trainer.curation.checksums import IBAN_LENGTHS
from services.trainer.curation.forms import Kind

FIRST = (
    "Sophie",
    "Jean",
    "Amina",
    "Oliver",
    "Chloé",
    "Priya",
    "Lucas",
    "Zoë",
    "Marie-Claire",
    "Ahmed",
    "Grace",
    "Étienne",
)
LAST = ("Durand", "O'Neill", "Nguyen", "Smith", "de la Tour", "Lefèvre", "Okafor", "Patel", "Garnier", "MacDonald")
STREETS = ("Victoria", "Maple", "King George", "Church", "Station", "Elm Tree")
RUES = (
    "rue de la République",
    "avenue Victor Hugo",
    "boulevard Saint-Michel",
    "chemin des Vignes",
    "place d'Italie",
    "quai de Bercy",
)
TOWNS = ("Lyon", "Paris", "Saint-Denis", "Aix-en-Provence", "Nantes")


@dataclass(frozen=True)
class Planted:
    """A sentence, and what is in it: of which kind, and where."""

    text: str
    kind: Kind | None
    start: int = 0
    end: int = 0


def digits(draw: random.Random, count: int) -> str:
    return "".join(str(draw.randrange(10)) for _ in range(count))


def grouped(text: str, size: int, gap: str) -> str:
    return gap.join(text[at : at + size] for at in range(0, len(text), size))


def email(draw: random.Random) -> str:
    name = draw.choice(("anna.b", "j_doe", "info+news", "marc-olivier", "x92", "sven.de.vries"))
    return f"{name}@{draw.choice(('example.org', 'mail.example.co.uk', 'courriel.example.fr', 'a-b.example.com'))}"


def phone(draw: random.Random) -> str:
    french = f"0{draw.choice('123467')}{digits(draw, 8)}"
    return draw.choice(
        (
            grouped(french, 2, " "),
            grouped(french, 2, "."),
            french,
            f"+33 {french[1]} {grouped(french[2:], 2, ' ')}",
            f"+44 20 7{digits(draw, 3)} {digits(draw, 4)}",
            f"07{digits(draw, 3)} {digits(draw, 6)}",
            f"(0161) {digits(draw, 3)} {digits(draw, 4)}",
            f"({draw.randrange(201, 989)}) {draw.randrange(201, 999)}-{digits(draw, 4)}",
            f"+1 {draw.randrange(201, 989)}-{draw.randrange(201, 999)}-{digits(draw, 4)}",
        )
    )


def iban(draw: random.Random) -> str:
    country = draw.choice(("FR", "GB", "DE", "BE"))
    letters = "NWBK" if country == "GB" else ""
    rest = letters + digits(draw, IBAN_LENGTHS[country] - 4 - len(letters))
    number = int("".join(str(int(character, 36)) for character in f"{rest}{country}00"))
    whole = f"{country}{98 - number % 97:02}{rest}"
    return grouped(whole, 4, draw.choice(("", " ")))


def card(draw: random.Random) -> str:
    body = draw.choice(("4", "51", "37")) + digits(draw, 14)
    body = body[: 14 if body.startswith("37") else 15]
    doubled = [int(digit) * (2 if at % 2 == 0 else 1) for at, digit in enumerate(reversed(body))]
    whole = body + str(-sum(one // 10 + one % 10 for one in doubled) % 10)
    return grouped(whole, 4, draw.choice(("", " ", "-")))


def national(draw: random.Random) -> str:
    nir = f"{draw.choice('12')}{digits(draw, 2)}{draw.randrange(1, 13):02}{draw.randrange(1, 96):02}{digits(draw, 6)}"
    key = 97 - int(nir) % 97
    body = draw.choice("4567") + digits(draw, 8)
    check = -sum(int(digit) * (10 - at) for at, digit in enumerate(body)) % 11
    if check == 10:
        return national(draw)
    health = f"{body[:3]} {body[3:6]} {body[6:]}{check}"
    spaced = f"{nir[0]} {nir[1:3]} {nir[3:5]} {nir[5:7]} {nir[7:10]} {nir[10:]} {key:02}"
    insurance = f"{draw.choice(('AB', 'JG', 'CE'))} {grouped(digits(draw, 6), 2, ' ')} {draw.choice('ABCD')}"
    return draw.choice((spaced, f"{nir}{key:02}", health, insurance))


def ip(draw: random.Random) -> str:
    if draw.random() < 0.3:
        return "2001:db8:" + ":".join(f"{draw.randrange(1, 65536):x}" for _ in range(6))
    return ".".join(str(draw.randrange(128, 255)) for _ in range(4))


def url(draw: random.Random) -> str:
    word = "".join(draw.choices("abcdefghkmnp", k=9))
    return draw.choice(
        (
            f"postgres://{word}:{digits(draw, 6)}@db.example.org/main",
            f"https://{word}:{word}@files.example.org/a.zip",
            f"https://example.org/share?id=3&token={word}{digits(draw, 4)}",
        )
    )


def secret(draw: random.Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    long = "".join(draw.choices(letters, k=38)) + "aB3"
    return draw.choice((f"ghp_{long[:36]}", f"sk-{long}", f"hf_{long[:30]}", f"AKIA{long[:16].upper()}", long))


def address(draw: random.Random) -> str:
    number = draw.randrange(1, 240)
    british = f"{number} {draw.choice(STREETS)} {draw.choice(('Road', 'Street', 'Lane', 'Avenue'))}"
    french = f"{number} {draw.choice(RUES)}"
    return draw.choice(
        (
            british,
            f"{british}, London NW1 6XE",
            f"{british}, Springfield, IL 62704",
            french,
            f"{french}, {digits(draw, 5)} {draw.choice(TOWNS)}",
            f"{number} bis, {draw.choice(RUES)}",
        )
    )


def name(draw: random.Random) -> str:
    return f"{draw.choice(FIRST)} {draw.choice(LAST)}"


PLANTS: dict[Kind, tuple[Callable[[random.Random], str], tuple[str, ...]]] = {
    Kind.EMAIL: (email, ("Write to {} please.", "Mon adresse est {}, merci !", "({})", "mail={}")),
    Kind.PHONE: (phone, ("Call me on {}.", "Mon numéro : {}", "tél. {} (le soir)", "is {} still yours?")),
    Kind.IBAN: (iban, ("Pay into {}.", "Mon IBAN est {} à la banque.", "{}")),
    Kind.CARD: (card, ("My card is {}, until 04/29.", "la carte {} ne marche plus")),
    Kind.NATIONAL_ID: (national, ("My number is {}.", "numéro de sécu : {}", "I was given {} at birth")),
    Kind.IP: (ip, ("The router is at {}.", "ping {} ne répond pas", "ssh root@host from {}")),
    Kind.URL: (url, ("Connect with {} and try.", "voici {}")),
    Kind.SECRET: (secret, ("The key is {}.", "export TOKEN={}", "mon jeton : {} , ne le dis pas")),
    Kind.ADDRESS: (address, ("I live at {}.", "J'habite au {}.", "Send it to {}, please.", "Rendez-vous {} !")),
}
INTRODUCED = (
    "My name is {}.",
    "je m'appelle {}, et toi ?",
    "Ask Dr {} about it.",
    "Mme {} a appelé.",
    "Thanks, regards, {}",
)
MENTIONED = ("I met {} yesterday.", "{} est venue dîner.", "What should I give to {} for his birthday?")
HARMLESS = (
    "The order 4929 3813 3266 4296 was shipped.",  # a card's form, and no card's check digit
    "ISBN 978-3-16-148410-0 is a book.",
    "It was 1,234,567.89 euros in 2023-01-05.",
    "Le 12 01 2024 à 10 h 30, salle 204.",
    "UUID 123e4567-e89b-12d3-a456-426614174000",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "Python 3.11.4 and numpy 2.4.6 at 127.0.0.1:8080",
    "at 12:30:45 the ratio was 16:9",
    "See https://example.org/watch?v=abc&t=10s for more.",
    "Meet @anna at the #party, tickets 2 for 1",
    "The street was long and the avenue was wide.",
    "Pi is 3.14159265358979, e is 2.718281828459045",
    "He ran 100 Metres in 10.2 s; rooms 101, 102 and 103.",
    "The password must have eight characters.",
    "Le mot de passe est oublié.",
    "call me later, my name is on the list",
    "between 1939 and 1945, over 60 000 000 people",
    "x = 0123456; y = 9876543210123",
)


def planted(seed: int, each: int) -> Iterator[Planted]:
    """``each`` sentences of every kind that has a form."""
    draw = random.Random(seed)
    for kind, (make, sentences) in PLANTS.items():
        for at in range(each):
            yield _put(sentences[at % len(sentences)], make(draw), kind)


def names(seed: int, each: int, sentences: tuple[str, ...]) -> Iterator[Planted]:
    """``each`` names, in the given sentences."""
    draw = random.Random(seed)
    for at in range(each):
        yield _put(sentences[at % len(sentences)], name(draw), Kind.NAME)


def _put(sentence: str, value: str, kind: Kind) -> Planted:
    start = sentence.index("{}")
    return Planted(sentence.replace("{}", value), kind, start, start + len(value))


OTHERWISE = (
    ("mail me: jean dot dupont at example dot fr", "jean dot dupont at example dot fr"),
    ("jean.dupont[at]example.fr", "jean.dupont[at]example.fr"),
    ("MON MAIL C'EST ANNA@EXAMPLE.FR", "ANNA@EXAMPLE.FR"),
    ("anna@localhost", "anna@localhost"),
    ("call 4155552671 tonight", "4155552671"),
    ("mon tel 0612345678", "0612345678"),
    ("ring +44 (0)20 7946 0958", "+44 (0)20 7946 0958"),
    ("0033612345678 est mon numéro", "0033612345678"),
    ("555-2671 is the local number", "555-2671"),
    ("appelle le 0470 12 34 56", "0470 12 34 56"),
    ("au 032 512 34 56 à Bienne", "032 512 34 56"),
    ("06-12-34-56-78", "06-12-34-56-78"),
    ("IBAN: fr76 3000 6000 0112 3456 7890 189", "fr76 3000 6000 0112 3456 7890 189"),
    ("account 12345678, sort code 20-00-00", "12345678"),
    ("carte 4111.1111.1111.1111", "4111.1111.1111.1111"),
    ("amex 3782 822463 10005", "3782 822463 10005"),
    ("sécu 255081416802538", "255081416802538"),
    ("my SSN is 078-05-1120", "078-05-1120"),
    ("NI number: AB123456C", "AB123456C"),
    ("passport 12AB34567", "12AB34567"),
    ("born on 3 April 1984", "3 April 1984"),
    ("the box is fe80::1", "fe80::1"),
    ("my password is correct horse battery staple", "correct horse battery staple"),
    ("pw = Sommer2024", "Sommer2024"),
    ("the wifi code is 8842-aGx9-22", "8842-aGx9-22"),
    ("Bearer abc123def456ghi789jkl", "abc123def456ghi789jkl"),
    ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 anna@laptop", "AAAAB3NzaC1yc2EAAAADAQABAAABgQC7"),
    ("ftp://anna:pw1@files.example.org", "ftp://anna:pw1@files.example.org"),
    ("I live at 12 the Cedars, Leeds", "12 the Cedars, Leeds"),
    ("12 baker street", "12 baker street"),
    ("Flat 3, 44 Queen's Road, Bristol BS8 1RE", "44 Queen's Road, Bristol BS8 1RE"),
    ("BP 123, 75001 Paris", "BP 123, 75001 Paris"),
    ("3, rue des Lilas 75020 Paris", "3, rue des Lilas 75020 Paris"),
    ("12 RUE VICTOR HUGO 69002 LYON", "12 RUE VICTOR HUGO 69002 LYON"),
    ("lives on Hauptstraße 5, 10115 Berlin", "Hauptstraße 5, 10115 Berlin"),
    ("my name is anna", "anna"),
    ("I'm Sophie, nice to meet you", "Sophie"),
    ("This is Oliver speaking", "Oliver"),
    ("moi c'est Chloé", "Chloé"),
    ("Mon mari, Étienne, cuisine", "Étienne"),
)
"""(text, what is personal in it), as people also write: made before anybody looked whether it is found. Of these 16
were; then patterns were made for those that have a form after all."""
