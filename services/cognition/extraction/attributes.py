"""The closed list of what facts are about, and which of it a person has but one of at a time. Pure."""

from __future__ import annotations

ENDED = "ended."
"""Before an attribute: that something of it holds no longer, such as ``ended.pet``."""
NAME = "name"

SINGLE = frozenset(
    [
        "name",
        "age",
        "birthday",
        "residence",
        "address",
        "employer",
        "occupation",
        "relationship_status",
        "phone",
        "email",
        "school",
        "nationality",
        "hometown",
    ]
)
MANY = frozenset(
    [
        "pet",
        "allergy",
        "diet",
        "health",
        "medication",
        "language",
        "likes",
        "dislikes",
        "possession",
        "plan",
        "hobby",
        "habit",
        "instrument",
        "membership",
        "study",
        "goal",
    ]
)
ONE_OF = frozenset(
    [
        "mother",
        "father",
        "wife",
        "husband",
        "partner",
        "girlfriend",
        "boyfriend",
        "fiance",
        "boss",
        "landlord",
        "mother_in_law",
        "father_in_law",
        "best_friend",
    ]
)
RELATIONS = ONE_OF | frozenset(
    [
        "sister",
        "brother",
        "daughter",
        "son",
        "child",
        "grandmother",
        "grandfather",
        "aunt",
        "uncle",
        "cousin",
        "niece",
        "nephew",
        "friend",
        "roommate",
        "neighbour",
        "colleague",
        "teacher",
        "doctor",
        "dentist",
        "therapist",
        "dog",
        "cat",
        "ex",
    ]
)
FAMILIES = ("favourite", "detail")
"""Their second part is the thing itself, such as ``favourite.colour``; of each thing there is one."""


def is_single(attribute: str) -> bool:
    """Whether a newer value of it puts an end to the older."""
    family, dot, base = attribute.partition(".")
    if not dot:
        return attribute in SINGLE
    if family in RELATIONS:
        return family in ONE_OF if base == NAME else base in SINGLE
    return family in FAMILIES


def is_known(attribute: str) -> bool:
    """Whether an attribute belongs to the list."""
    attribute = attribute.removeprefix(ENDED)
    family, dot, base = attribute.partition(".")
    if not dot:
        return attribute in SINGLE or attribute in MANY
    return (family in FAMILIES and bool(base.strip())) or (family in RELATIONS and base in SINGLE | MANY)
