"""The closed list of what facts are about, and which of it a person has but one of at a time. Pure."""

from __future__ import annotations

from services.cognition.extraction.patterns import split_words

ENDED = "ended."
"""Before an attribute: that something of it holds no longer, such as ``ended.pet``."""
LIKES, DISLIKES = "likes", "dislikes"
"""Of taste alone the negation has a name of its own."""
NAME = "name"

SINGLE = split_words(
    "address age birthday device email employer hometown name nationality occupation phone relationship_status "
    "residence school"
)
MANY = split_words(
    "allergy diet goal habit health hobby language likes medication membership other_car other_instrument other_sport "
    "pet plan possession study"
)
ONE_OF = split_words(
    "mother father wife husband partner girlfriend boyfriend fiance boss landlord mother_in_law father_in_law "
    "best_friend"
)
RELATIONS = ONE_OF | split_words(
    "sister brother daughter son child grandmother grandfather aunt uncle cousin niece nephew friend roommate "
    "neighbour colleague teacher doctor dentist therapist dog cat ex"
)
FAMILIES = ("favourite", "detail", "pet")
"""Their second part is the thing itself, such as ``favourite.colour``; of each thing there is one."""
PRINCIPAL = frozenset({"instrument", "sport", "car"})
"""Who tells of another one has changed to it, unless they say that it comes on top."""


def stored(attribute: str, *, ended: bool) -> str:
    """Under which attribute a statement, or its negation, is kept as a fact."""
    if not ended:
        return attribute
    relation, dot, base = attribute.rpartition(".")
    return relation + dot + DISLIKES if base == LIKES else ENDED + attribute


def spoken_of(stored_as: str) -> tuple[str, bool]:
    """The other way round: what a kept fact speaks of, and whether it is a negation."""
    if stored_as.rpartition(".")[2] == DISLIKES and not stored_as.startswith(ENDED):
        return stored_as[: -len(DISLIKES)] + LIKES, True
    return stored_as.removeprefix(ENDED), stored_as.startswith(ENDED)


def is_single(attribute: str) -> bool:
    """Whether a newer value of it puts an end to the older."""
    family, dot, base = attribute.partition(".")
    if not dot:
        return attribute in SINGLE or attribute in PRINCIPAL
    if family in RELATIONS:
        return family in ONE_OF if base == NAME else base in SINGLE
    return family in FAMILIES


def is_known(attribute: str) -> bool:
    """Whether what a statement speaks of belongs to the list."""
    family, dot, base = attribute.partition(".")
    if not dot:
        return attribute in SINGLE | MANY | PRINCIPAL
    return (family in FAMILIES and bool(base.strip())) or (family in RELATIONS and base in SINGLE | MANY)
