"""Dates and times as callers write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _written(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
        return value
    raise ValueError("Input should be a date and time as text, such as 2030-01-31T00:00:00Z")


def _placed(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("Input should be a date and time that exists in UTC, too") from None
    return moment


Moment = Annotated[
    datetime,
    Field(strict=False, description="ISO 8601; without an offset it is taken as UTC"),
    BeforeValidator(_written),
    AfterValidator(_placed),
]
"""A date and time that keeps its offset; one without is taken as UTC."""
