"""What the caller of a stream tells its server: credit, cancellation, and whether it is still there."""

from __future__ import annotations

from libs.shared.contracts.base import Message


class Flow(Message):
    """One control message; ``stream`` is the reply subject that names the stream."""

    stream: str
    credit: int = 0
    """Chunks that the caller has taken since it last said so."""
    cancel: bool = False


PART, MORE, END = "part", "more", "end"
"""What a chunk's header says after its number: the body goes on in the next message, it is whole, it is the last."""
