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
            try:
                after = self._message(fields, data, end + 2)
            except (ValueError, IndexError):
                others += data[at : end + 2]
                at = end + 2
                continue
            if after > len(data):
                self._hold(data[at:], after - at)
                return others
            at = after
        if at < len(data):
            self._hold(data[at:], 0)
        return others

    def _message(self, fields: list[bytes], data: bytes, start: int) -> int:
        """Where the message whose body begins at ``start`` ends; handed on when that is in ``data``.

        Raises ValueError, IndexError for a line that begins no message.
        """
        kind = fields[0]
        if kind == b"MSG":
            headers, count = 0, len(fields) - 4
        elif kind == b"HMSG":
            headers, count = int(fields[-2]), len(fields) - 5
        else:
            raise ValueError(kind)
        stop = start + int(fields[-1])
        body = start + headers
        if count not in (0, 1) or not start <= body <= stop:
            raise ValueError(kind)
        if stop + 2 <= len(data):
            reply = fields[3] if count else b""
            self._on_frame(fields[2], fields[1], reply, data[body:stop], data[start:body] if headers else None)
        return stop + 2

    def _hold(self, rest: bytes, needed: int) -> None:
        self._pieces.append(rest)
        self._held = len(rest)
        self._needed = needed
