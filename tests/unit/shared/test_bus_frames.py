"""Messages are found in a broker's bytes, however those are cut."""

from __future__ import annotations

import pytest

from libs.shared.bus.frames import Frames

Message = tuple[bytes, bytes, bytes, bytes, bytes | None]

HEADERS = b"NATS/1.0\r\nA: b\r\n\r\n"
SENT = b"".join(
    (
        b'INFO {"server_id":"x"}\r\n',
        b"MSG mongars.v1.a 1 5\r\nhello\r\n",
        b"PING\r\n",
        b"MSG mongars.v1.a 12 _INBOX.b.c 16\r\nMSG a 1 2\r\nxy\r\nz\r\n",
        b"HMSG mongars.v1.a 3 _INBOX.b 18 20\r\n" + HEADERS + b"{}\r\n",
        b"HMSG _INBOX.b 3 18 18\r\n" + HEADERS + b"\r\n",
        b"MSG mongars.v1.a 1 0\r\n\r\n",
        b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n",
        b"PONG\r\n",
    )
)
MESSAGES: list[Message] = [
    (b"1", b"mongars.v1.a", b"", b"hello", None),
    (b"12", b"mongars.v1.a", b"_INBOX.b.c", b"MSG a 1 2\r\nxy\r\nz", None),
    (b"3", b"mongars.v1.a", b"_INBOX.b", b"{}", HEADERS),
    (b"3", b"_INBOX.b", b"", b"", HEADERS),
    (b"1", b"mongars.v1.a", b"", b"", None),
]
OTHERS = b'INFO {"server_id":"x"}\r\nPING\r\n-ERR \'Permissions Violation for Publish to "x"\'\r\nPONG\r\n'
NO_MESSAGES = (
    b"MSG\r\n",
    b"MSG a 1\r\n",
    b"MSG a 1 b c 2\r\n",
    b"MSG a 1 two\r\n",
    b"MSG a 1 -2\r\n",
    b"HMSG a 1 2\r\n",
    b"HMSG a 1 20 18\r\n",
    b"HMSG a 1 -1 18\r\n",
    b"msg a 1 2\r\n",
    b"\r\n",
)


def cut(data: bytes, length: int) -> tuple[list[Message], bytes]:
    """What is made of ``data`` when it comes in pieces of ``length``."""
    found: list[Message] = []
    frames = Frames(lambda *message: found.append(message))
    others = b"".join([frames.feed(data[at : at + length]) for at in range(0, len(data), length)])
    return found, others


def however_it_is_cut() -> None:
    for length in (*range(1, 40), len(SENT)):
        assert cut(SENT, length) == (MESSAGES, OTHERS), length


def put_together_once(patch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    hold = Frames._hold

    def note(self: Frames, rest: bytes, needed: int) -> None:
        held.append(len(rest))
        hold(self, rest, needed)

    patch.setattr(Frames, "_hold", note)
    body = b"x" * 1_000_000
    assert cut(b"MSG a 1 1000000\r\n" + body + b"\r\n", 4096)[0] == [(b"1", b"a", b"", body, None)]
    assert sum(held) < 2 * 4096


def test_messages_are_the_same_wherever_their_bytes_are_cut() -> None:
    however_it_is_cut()


def test_a_large_body_is_put_together_once(monkeypatch: pytest.MonkeyPatch) -> None:
    put_together_once(monkeypatch)


@pytest.mark.parametrize("line", NO_MESSAGES)
def test_a_line_that_begins_no_message_is_left_to_the_protocol(line: bytes) -> None:
    assert cut(line + b"PING\r\n", 1000) == ([], line + b"PING\r\n")


def _forgotten(self: Frames, rest: bytes, needed: int) -> None: ...


def _read_again_with_each_piece(self: Frames, rest: bytes, needed: int) -> None:
    self._pieces.append(rest)


def test_the_check_notices_pieces_that_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Frames, "_hold", _forgotten)
    with pytest.raises(AssertionError):
        however_it_is_cut()


def test_the_check_notices_a_body_that_is_put_together_with_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Frames, "_hold", _read_again_with_each_piece)
    with pytest.raises(AssertionError):
        put_together_once(monkeypatch)
