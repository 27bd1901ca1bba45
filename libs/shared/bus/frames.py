"""Tells the messages in what a broker sends from everything else that it says."""

from __future__ import annotations

from collections.abc import Callable

OnFrame = Callable[[bytes, bytes, bytes, bytes, bytes | None], None]
"""Called with a message's subscription, subject, reply subject, body, and its header block if it has one."""

_END = b"\r\n"


class Frames:
    """Takes bytes as they come, in pieces of any length; a message is handed on when it is whole."""

    def __init__(self, on_frame: OnFrame) -> None:
        self._on_frame = on_frame
        self._pieces: list[bytes] = []
        self._held = 0
        self._needed = 0
        """Bytes without which what is held can't be read on, so that a large body is put together once."""

    def feed(self, data: bytes) -> bytes:
        """Hands the messages on, and returns the other whole lines in their order.

        A line that only begins like a message is among those: whoever reads them will find it malformed.
        """
        if self._pieces:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return b""
            data = b"".join(self._pieces)
            self._pieces.clear()
        at, others = 0, b""
        while (end := data.find(_END, at)) >= 0:
            fields = data[at:end].split()
            lengths = _lengths(fields)
            if lengths is None:
                others += data[at : end + 2]
                at = end + 2
                continue
            body = end + 2 + lengths[0]
            stop = end + 2 + lengths[1]
            if stop + 2 > len(data):
                self._hold(data[at:], stop + 2 - at)
                return others
            headers = data[end + 2 : body] if lengths[0] else None
            reply = fields[3] if len(fields) > lengths[2] else b""
            self._on_frame(fields[2], fields[1], reply, data[body:stop], headers)
            at = stop + 2
        if at < len(data):
            self._hold(data[at:], 0)
        return others

    def _hold(self, rest: bytes, needed: int) -> None:
        self._pieces.append(rest)
        self._held = len(rest)
        self._needed = needed


def _lengths(fields: list[bytes]) -> tuple[int, int, int] | None:
    """Of a message's header block, of that and its body together, and of its line without a reply subject.

    None for a line that begins no message.
    """
    kind = fields[0] if fields else b""
    try:
        if kind == b"MSG" and 4 <= len(fields) <= 5:
            headers, both, without_reply = 0, int(fields[-1]), 4
        elif kind == b"HMSG" and 5 <= len(fields) <= 6:
            headers, both, without_reply = int(fields[-2]), int(fields[-1]), 5
        else:
            return None
    except ValueError:
        return None
    return (headers, both, without_reply) if 0 <= headers <= both else None
