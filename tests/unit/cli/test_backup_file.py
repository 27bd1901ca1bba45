"""The file of a backup: what comes out is what went in, and one changed, missing, moved or added byte is refused."""

from __future__ import annotations

import base64
import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.backups import recovery_key, sealed_file
from cli.backups.checking import checked, outer
from cli.backups.contents import DATABASE, FOLDER, KEYS, About, Account, Packing, unpack
from cli.backups.recovery_key import RecoveryKey
from cli.backups.restoring import Wanted, restore
from cli.backups.sealed_file import Reader, Writer
from cli.errors import CommandError
from cli.progress import Progress
from libs.shared.contracts.backups import Backup, BackupState
from libs.shared.contracts.common import Position
from libs.shared.layout import StateFolder

KEY = RecoveryKey(b"k" * 32)
NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
MEMBERS = {FOLDER + "installation.json": b"{}", KEYS: b"\x01" * 800, DATABASE: bytes(range(256)) * 40}


def about(revision: str = "0002") -> About:
    backup = Backup(
        backup_id="b1",
        place="/backups/b1.backup",
        cut=Position(epoch="e", sequence=7),
        cut_at=NOW,
        taken_at=NOW,
        last_ordinal=9,
        state=BackupState.MAKING,
    )
    return About(
        product_version="0.1.0",
        folder_format=1,
        schema_revision=revision,
        postgres_dump=18,
        http_port=8080,
        counts={"turns": 3},
        keys=10,
        backup=backup,
    )


def packed(key: RecoveryKey = KEY, revision: str = "0002") -> bytes:
    file = io.BytesIO()
    packing = Packing(Writer(file, key.seal, {"backup_id": "b1", "product_version": "0.1.0"}), about(revision))
    for name, content in MEMBERS.items():
        packing.add(name, iter((content[:100], content[100:])))
    packing.finish()
    return file.getvalue()


def opened(content: bytes, key: RecoveryKey = KEY) -> tuple[dict[str, bytes], Account]:
    found: dict[str, bytearray] = {}

    def begin(name: str) -> object:
        found[name] = bytearray()
        return found[name].extend

    account = unpack(io.BytesIO(content), key, lambda _: None, begin, lambda _: None)  # type: ignore[arg-type]
    return {name: bytes(held) for name, held in found.items()}, account


BACKUP = packed()


def test_what_comes_out_is_what_went_in() -> None:
    members, account = opened(BACKUP)
    assert members == MEMBERS
    assert [member.name for member in account.members] == list(MEMBERS)


def test_nothing_of_it_is_readable_without_the_key() -> None:
    assert MEMBERS[DATABASE][:64] not in BACKUP
    assert b"installation.json" not in BACKUP


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BACKUP) - 1), st.integers(1, 255))
def test_one_changed_byte_is_refused(at: int, by: int) -> None:
    altered = bytearray(BACKUP)
    altered[at] ^= by
    with pytest.raises(CommandError):
        opened(bytes(altered))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(BACKUP) - 1))
def test_a_cut_short_backup_is_refused(length: int) -> None:
    with pytest.raises(CommandError):
        opened(BACKUP[:length])


def test_an_added_byte_is_refused() -> None:
    with pytest.raises(CommandError, match="end was altered"):
        opened(BACKUP + b"\0")


def frames(content: bytes) -> tuple[bytes, list[bytes], bytes]:
    """What stands before the frames, the frames, the hash."""
    reader = Reader(io.BytesIO(content))
    begin = reader._file.tell()
    found, at = [], begin
    while at < len(content) - 32:
        length = 4 + int.from_bytes(content[at : at + 4], "little")
        found.append(content[at : at + length])
        at += length
    return content[:begin], found, content[-32:]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_frames_in_another_order_or_left_out_are_refused(data: st.DataObject) -> None:
    before, found, _ = frames(BACKUP)
    order = data.draw(st.permutations(range(len(found))) | st.sets(st.integers(0, len(found) - 1)).map(sorted))
    if list(order) == list(range(len(found))):
        return
    moved = before + b"".join(found[at] for at in order)
    hashed = moved + hashlib.sha256(moved).digest()  # whoever alters it can make the hash anew
    with pytest.raises(CommandError):
        opened(hashed)


def test_another_installations_backup_can_not_be_passed_off_as_ones_own() -> None:
    """With the public half alone: the MAC over the header needs what follows from the secret."""
    forged = recovery_key.Seal(KEY.seal.public, b"\0" * 32)
    file = io.BytesIO()
    Packing(Writer(file, forged, {}), about()).finish()
    with pytest.raises(CommandError, match="not made by the installation"):
        opened(file.getvalue())


def test_another_recovery_key_is_named_as_such() -> None:
    with pytest.raises(CommandError, match="another recovery key"):
        opened(BACKUP, RecoveryKey(b"x" * 32))


def test_a_newer_format_is_refused_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_file, "FORMAT", 2)
    newer = packed()
    monkeypatch.undo()
    with pytest.raises(CommandError, match=r"format 2, made by monGARS 0\.1\.0"):
        opened(newer)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "b.backup"
    path.write_bytes(BACKUP)
    return path


def test_decay_is_seen_without_the_key(file: Path) -> None:
    assert outer(file)["backup_id"] == "b1"
    content = bytearray(BACKUP)
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CommandError, match="checksum"):
        outer(file)


def test_a_backup_without_its_database_is_refused(file: Path) -> None:
    assert checked(file, KEY).counts == {"turns": 3}
    poor = io.BytesIO()
    Packing(Writer(poor, KEY.seal, {}), about()).finish()
    file.write_bytes(poor.getvalue())
    with pytest.raises(CommandError, match="missing"):
        checked(file, KEY)


# ---------------------------------------------------------------- the recovery key


def test_a_recovery_key_is_read_as_it_is_shown_and_as_people_type_it() -> None:
    key = RecoveryKey.new()
    assert RecoveryKey.read(key.words).secret == key.secret
    assert RecoveryKey.read(key.words.lower().replace("-", " ") + "\n").secret == key.secret


@settings(max_examples=200, deadline=None)
@given(st.integers(5, 73), st.sampled_from("ABCDEFGHJKMNPQRSTUVWXYZ234567"))
def test_a_wrong_character_is_noticed(at: int, character: str) -> None:
    words = KEY.words
    at = min(at, len(words) - 1)
    if words[at] in (character, "-"):
        return
    with pytest.raises(CommandError, match="no recovery key"):
        RecoveryKey.read(words[:at] + character + words[at + 1 :])


def test_the_installation_keeps_what_seals_and_not_what_opens(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.keys.mkdir()
    recovery_key.keep(folder, KEY.seal)
    assert recovery_key.kept(folder) == KEY.seal
    kept = folder.recovery_key.read_text()
    assert KEY.secret.hex() not in kept
    assert base64.b64encode(KEY.secret).decode() not in kept
    assert folder.recovery_key.stat().st_mode & 0o777 == 0o600


def test_a_backup_of_a_newer_version_is_refused_by_name_and_nothing_is_written(tmp_path: Path) -> None:
    newer = tmp_path / "newer.backup"
    newer.write_bytes(packed(revision="9999"))
    wanted = Wanted(newer, StateFolder(tmp_path / "target"), KEY, environment={})
    with pytest.raises(CommandError, match=r"made by monGARS 0\.1\.0 \(schema 9999\), which is newer"):
        restore(wanted, Progress(quiet=True))
    assert not (tmp_path / "target").exists()
