"""What a machine that joins and the entrance say to each other: one line of JSON each way, over TLS.

A connection that names ``ALPN`` is a conversation of this kind; one that names its version's ``node_protocol`` is one
with the broker, and any other is none.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ALPN = "mongars-join/1"
TLS_NAME = "nodes.mongars.internal"
"""What the entrance's certificate is for: its address may change, and its own authority alone is believed."""
LONGEST_LINE = 16 * 1024
PREFERRED_PORT = 7422


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Hello(_Line):
    """Asks for the authority's certificate and the version; answered to everybody."""

    ask: Literal["hello"] = "hello"


class Enrol(_Line):
    """Asks to join, with an invitation's secret."""

    ask: Literal["enrol"] = "enrol"
    invitation: Annotated[str, Field(max_length=64)]
    secret: Annotated[str, Field(max_length=128)]
    node_id: Annotated[str, Field(max_length=200)]
    public_key: Annotated[str, Field(max_length=128)]
    version: Annotated[str, Field(max_length=64)]


class Greeting(_Line):
    """The entrance's answer to Hello."""

    authority: str
    """PEM, public."""
    version: str


class Welcome(_Line):
    """The machine has joined."""

    node_id: str


class Refusal(_Line):
    """It has not. ``code``: ``invitation``, ``version``, ``name``, ``key``, ``too_many``, ``malformed``, ``failed``."""

    refused: str
    detail: str
