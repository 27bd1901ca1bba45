"""What the memory's commands work out by themselves: archives to send, imports to follow, receipts to check."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from cli.archive_file import sendable
from cli.commands.memory import _export_to
from cli.errors import CommandError, Exit
from cli.gateway import Gateway, Refused
from cli.import_progress import followed
from cli.installation import Installation
from cli.listing import shortened, show
from cli.options import line
from cli.own_key import OwnKey
from cli.receipts import receipts_in, verdict
from libs.shared.receipts import canonical
from tests.unit.cli.small_gateway import Answer, serving

INSTALLATION: Installation = None  # type: ignore[assignment] # a key that never asks it for anything
KEY = OwnKey(INSTALLATION, None, "test", "mgk_x")
SIGNER = SigningKey(b"1" * 32)
DONE = {"event": "done", "imported": 2, "present": 1, "left_out": 0, "notes": 0, "documents": 0}


def test_of_a_zip_only_the_conversations_are_sent(tmp_path: Path) -> None:
    file = tmp_path / "export.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("conversations.json", "[]")
        archive.writestr("a/conversations-001.json", "[1]")
        archive.writestr("picture.png", bytes(1_000_000))
    with sendable(file) as (content, size):
        assert size < 1000
        with zipfile.ZipFile(io.BytesIO(content.read())) as slim:
            assert {name: slim.read(name) for name in slim.namelist()} == {
                "conversations.json": b"[]",
                "a/conversations-001.json": b"[1]",
            }


def test_any_other_file_is_sent_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "conversations.json"
    file.write_bytes(b"[1, 2]")
    with sendable(file) as (content, size):
        assert (content.read(), size) == (b"[1, 2]", 6)


def test_a_file_that_cannot_be_read_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="can't be read") as caught, sendable(tmp_path / "nowhere.zip"):
        pytest.fail("there is nothing to send")
    assert caught.value.code is Exit.USAGE


def test_an_import_is_followed_to_its_end() -> None:
    read = {"event": "read", "kind": "claude", "conversations": 1, "turns": 3, "left_out": 0}
    progress = {"event": "progress", "imported": 1, "present": 0}
    assert followed([read, progress, DONE], quiet=True) == DONE


@pytest.mark.parametrize("events", [[], [{"event": "failed", "detail": "the embedder is slow"}]])
def test_an_import_that_breaks_off_says_what_to_do(events: list[dict[str, Any]]) -> None:
    with pytest.raises(CommandError, match="broke off") as caught:
        followed(events, quiet=True)
    assert "again" in caught.value.remedy


def receipt(**more: Any) -> dict[str, Any]:
    told = {"receipt_id": "r", "scope": "memory", "key": base64.b64encode(bytes(SIGNER.verify_key)).decode(), **more}
    return {**told, "signature": base64.b64encode(SIGNER.sign(canonical(told)).signature).decode()}


@pytest.mark.parametrize("wrapped", [lambda r: r, lambda r: [r], lambda r: {"receipts": [r], "next_cursor": None}])
def test_receipts_are_found_in_what_was_kept_of_them(wrapped: Any) -> None:
    assert receipts_in(json.dumps(wrapped(receipt()))) == [receipt()]


@pytest.mark.parametrize("text", ["", "[]", "{}", "nothing", "[" * 100_000, '{"receipts": 1}'])
def test_where_there_is_no_receipt_that_is_said(text: str) -> None:
    with pytest.raises(CommandError, match="no receipt"):
        receipts_in(text)


def test_a_receipt_is_genuine_as_long_as_nobody_changed_it() -> None:
    told = receipt()
    assert verdict(told, None) == verdict(told, told["key"]) == "genuine"
    assert verdict(told, base64.b64encode(bytes(32)).decode()) == "signed by another key"
    for change in (
        {"scope": "everything"},
        {"receipt_id": "s"},
        {"signature": "AA=="},
        {"signature": 1},
        {"key": None},
    ):
        assert verdict({**told, **change}, None) == "not genuine", change


def test_pages_are_read_until_there_are_enough() -> None:
    def answer(method: str, path: str, query: dict[str, str], body: bytes) -> Answer:
        start, limit = int(query.get("cursor", 0)), int(query["limit"])
        return 200, {"items": list(range(start, start + limit)), "next_cursor": str(start + limit)}

    with serving(answer) as server:
        gateway = Gateway(server.server_port, KEY)
        assert len(gateway.pages("/x", "items", most=450, pinned=True, kind=None)) == 450
        assert [query["limit"] for _, _, query in server.asked] == ["200", "200", "50"]
        assert server.asked[0][2] == {"limit": "200", "pinned": "true"}
        assert set(server.credentials) == {"Bearer mgk_x"}


@pytest.mark.parametrize("body", [{"code": "memory_not_found", "detail": "no such memory"}, b"<html>", ["?"]])
def test_a_refusal_is_told_in_the_gateways_words(body: Any) -> None:
    with serving(lambda *_: (404, body)) as server, pytest.raises(Refused) as caught:
        Gateway(server.server_port, KEY).ask("GET", "/x")
    known = isinstance(body, dict)
    assert (caught.value.reason, caught.value.status) == ("memory_not_found" if known else "", 404)
    assert caught.value.problem == ("no such memory" if known else "the gateway refused it (404)")


def test_a_download_comes_whole_and_lines_come_one_by_one() -> None:
    content = b"x" * 200_000
    with serving(lambda *_: (200, content)) as server:
        into = io.BytesIO()
        Gateway(server.server_port, KEY).download("/x", into, format="json")
        assert into.getvalue() == content
    with serving(lambda *_: (200, b'{"a": 1}\n{"a": 2}\n')) as server:
        told = Gateway(server.server_port, KEY).lines("/x", io.BytesIO(b"sent"), 4)
        assert [line["a"] for line in told] == [1, 2]


@pytest.mark.parametrize("makes", [False, True])
def test_a_slip_in_the_name_makes_an_account_only_where_something_is_added(
    makes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    @asynccontextmanager
    async def as_command(_: Installation) -> AsyncIterator[None]:
        yield

    async def nobody(_: None, name: str) -> None:
        return None

    async def create_user(_: None, name: str, *more: object) -> None:
        made.append(name)
        raise CommandError("so far and no further")

    monkeypatch.setattr("cli.bus.as_command", as_command)
    monkeypatch.setattr("cli.accounts.find_user", nobody)
    monkeypatch.setattr("cli.accounts.create_user", create_user)
    with pytest.raises(CommandError, match="so far" if makes else "there is no user adda"):
        OwnKey(INSTALLATION, "adda", "test", make_user=makes).renew()
    assert made == (["adda"] if makes else [])


def test_what_is_remembered_says_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "key\x1b]0;owned\x07 \x9b31m \u202eyek"
    line(f"Où ?\n\t{hostile}")
    show(("text",), [(hostile,)], nothing="")
    told = capsys.readouterr().out
    assert "Où ?\n\tkey" in told
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & {*told, *shortened(hostile, 100)}


def test_an_export_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "memory.json.partial").write_text("left behind")
    with serving(lambda *_: (200, b"{}")) as server:
        _export_to(tmp_path / "memory.json", Gateway(server.server_port, KEY), "json")
    assert (tmp_path / "memory.json").read_bytes() == b"{}"
    assert (tmp_path / "memory.json").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["memory.json"]


def test_a_text_is_shortened_on_one_line() -> None:
    assert shortened("a\n b", 10) == "a b"
    assert shortened("abcdef ghi", 8) == "abcdef…"
