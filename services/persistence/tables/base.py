"""What the tables share: names of constraints and column types."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import BigInteger, ColumnElement, DateTime, LargeBinary, MetaData, String, any_, literal
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, mapped_column

Identifier = Annotated[str, mapped_column(String(64))]
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Slot = Annotated[int, mapped_column(BigInteger)]
"""A place in the slot file."""
Whole = Annotated[int, mapped_column(BigInteger)]
Sealed = Annotated[bytes, mapped_column(LargeBinary)]
"""Nonce plus secretbox, never plain."""
Json = Annotated[Any, mapped_column(JSONB(none_as_null=False))]


class Base(DeclarativeBase):
    """The declarative base; names follow one convention, so that migrations can name what they change."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def among(column: InstrumentedAttribute[Any], values: Iterable[object]) -> ColumnElement[bool]:
    """``column = ANY(values)``: one parameter and one prepared statement, however many values there are."""
    return column == any_(literal(list(values), ARRAY(column.type)))
