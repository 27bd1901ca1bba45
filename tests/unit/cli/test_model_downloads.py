"""Downloads from a server that speaks the hub's protocol: resumed, verified, refused in words, nothing half left."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from cli.errors import CommandError
from cli.models import checksums, pulling, shelf
from cli.models import part as parts
from cli.models.hub import Unreachable
from cli.models.pulling import Source
from cli.models.reference import parse
from cli.models.transfer import Patience, Watch
from tests.support.hub import NEXT_COMMIT, LocalHub, Upstream, serve

REPO = "Acme/Tiny-GGUF"
FILE = "tiny-q4_k_m.gguf"
QUICK = Patience(tries=3, first_wait_s=0.001)
PART_BYTES = 100_000


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def gguf_bytes(size: int = 300_000, *, architecture: str = "llama", seed: int = 1) -> bytes:
    """A header as a model has it, and bytes that differ everywhere."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    entry = text("general.architecture") + struct.pack("<I", 8) + text(architecture)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + entry
    body = b"".join(hashlib.sha256(f"{seed}.{n}".encode()).digest() for n in range(size // 32 + 1))
    return (head + body)[:size]


@contextmanager
def unseen(label: str) -> Iterator[Watch]:
    yield lambda done, total: None


@pytest.fixture
async def hub() -> AsyncIterator[LocalHub]:
    made = LocalHub({REPO: {FILE: Upstream(gguf_bytes()), "README.md": Upstream(b"# tiny\n", lfs=False)}})
    runner = await serve(made)
    yield made
    await runner.cleanup()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


async def pull(hub: LocalHub, folder: Path, what: str = REPO, **more: object) -> pulling.Pulled:
    source = Source(hub.url, patience=QUICK, **more)  # type: ignore[arg-type]
    offered = await pulling.look(source, parse(what))
    return await pulling.from_hub(folder, source, offered, unseen)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def content(folder: Path) -> bytes:
    return (folder / FILE).read_bytes()


def size(path: Path) -> int:
    return path.stat().st_size


def spoil(path: Path) -> None:
    path.write_bytes(bytes(size(path)))


def upstream(hub: LocalHub) -> Upstream:
    return hub.repositories[REPO][FILE]


async def interrupted(hub: LocalHub, folder: Path) -> None:
    """Leaves the first bytes of the file, as a command that was ended does."""
    upstream(hub).break_after = [PART_BYTES]
    source = Source(hub.url, patience=Patience(tries=1))
    offered = await pulling.look(source, parse(REPO))
    with pytest.raises(Unreachable):
        await pulling.from_hub(folder, source, offered, unseen)
    assert 0 < size(folder / f"{FILE}.part") <= PART_BYTES
    assert shelf.present(folder) == []


async def test_a_model_comes_by_way_of_the_cdn_and_is_vouched_for_by_the_hub(hub: LocalHub, folder: Path) -> None:
    pulled = await pull(hub, folder)
    assert content(folder) == upstream(hub).content
    assert (pulled.name, pulled.licence, pulled.vouched_by) == ("tiny-q4_k_m", "apache-2.0", "the hub")
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600
    assert names(folder) == {FILE, f"{FILE}.json"}
    assert (await pull(hub, folder)).already
    assert len(hub.requests) == 1, "what is there is not brought again"


async def test_a_small_file_is_held_against_its_git_blob(hub: LocalHub, folder: Path) -> None:
    upstream(hub).lfs = False
    await pull(hub, folder)
    manifest = json.loads((folder / f"{FILE}.json").read_bytes())
    assert (manifest["checksum_kind"], manifest["checksum"]) == ("git-blob", upstream(hub).blob_id)


async def test_a_connection_that_drops_is_taken_up_where_it_broke(hub: LocalHub, folder: Path) -> None:
    upstream(hub).break_after = [PART_BYTES, PART_BYTES]
    await pull(hub, folder)
    assert content(folder) == upstream(hub).content
    assert len(hub.requests) == 3
    assert all(request["Range"] != "bytes=0-" for request in hub.requests[1:])


async def test_an_interrupted_pull_goes_on_with_a_range_under_the_same_validator(hub: LocalHub, folder: Path) -> None:
    await interrupted(hub, folder)
    here = size(folder / f"{FILE}.part")
    await pull(hub, folder)
    assert hub.requests[-1]["Range"] == f"bytes={here}-"
    assert hub.requests[-1]["If-Range"] == upstream(hub).etag
    assert content(folder) == upstream(hub).content


async def test_what_changed_at_the_cdn_meanwhile_is_brought_anew(hub: LocalHub, folder: Path) -> None:
    await interrupted(hub, folder)
    upstream(hub).etag = '"cdn-2"'
    await pull(hub, folder)
    assert hub.requests[-1]["If-Range"] == '"cdn-1"'
    assert content(folder) == upstream(hub).content


async def test_a_new_revision_is_never_joined_to_the_start_of_an_old_one(hub: LocalHub, folder: Path) -> None:
    await interrupted(hub, folder)
    hub.repositories[REPO][FILE] = Upstream(gguf_bytes(seed=2), etag='"cdn-1"')
    hub.commit = NEXT_COMMIT
    await pull(hub, folder)
    assert "Range" not in hub.requests[-1]
    assert content(folder) == gguf_bytes(seed=2)


async def test_a_server_without_ranges_sends_it_whole_again(hub: LocalHub, folder: Path) -> None:
    upstream(hub).ranges = False
    await interrupted(hub, folder)
    await pull(hub, folder)
    assert content(folder) == upstream(hub).content


async def test_a_wrong_checksum_leaves_nothing(hub: LocalHub, folder: Path) -> None:
    upstream(hub).told_sha256 = "0" * 64
    with pytest.raises(CommandError, match="is not the file that the hub vouches for") as refused:
        await pull(hub, folder)
    assert "0" * 64 in refused.value.problem
    assert hashlib.sha256(upstream(hub).content).hexdigest() in refused.value.problem
    assert not any(names(folder))


async def test_without_the_check_the_wrong_file_would_be_kept(
    hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation: a download that takes whatever digest it finds."""
    upstream(hub).told_sha256 = "0" * 64
    monkeypatch.setattr(parts.Part, "digest", lambda self: "0" * 64)
    await pull(hub, folder)
    assert (folder / FILE).exists()


async def test_a_part_that_was_spoilt_on_disk_is_found_out(hub: LocalHub, folder: Path) -> None:
    await interrupted(hub, folder)
    spoil(folder / f"{FILE}.part")
    with pytest.raises(CommandError, match="thrown away"):
        await pull(hub, folder)
    await pull(hub, folder)
    assert content(folder) == upstream(hub).content


async def test_what_is_no_model_is_refused_and_removed(hub: LocalHub, folder: Path) -> None:
    for content, words in ((b"<html>" * 1000, "no GGUF model"), (gguf_bytes(architecture="nomic-bert"), "embedder")):
        hub.repositories[REPO][FILE] = Upstream(content)
        with pytest.raises(CommandError, match=words):
            await pull(hub, folder)
        assert not any(names(folder))


async def test_a_disk_that_is_too_small_is_said_before_a_byte_comes(
    hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Usage(10**9, 10**9, 2**20))
    with pytest.raises(CommandError, match="has 1 MiB free"):
        await pull(hub, folder)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("Acme/None-GGUF", "there is no Acme/None-GGUF, or it is private"),
        ("Acme/Closed-GGUF", "is gated"),
        (f"{REPO}:q8_0", "has no q8_0"),
    ],
)
async def test_refusals_are_words_with_a_remedy(hub: LocalHub, folder: Path, what: str, words: str) -> None:
    hub.gated = {"Acme/Closed-GGUF"}
    with pytest.raises(CommandError, match=words) as refused:
        await pull(hub, folder, what)
    assert refused.value.remedy


async def test_a_token_goes_to_the_hub_and_never_to_the_cdn(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    hub.gated = {REPO}
    (tmp_path / "token").write_text("let-me-in\n")
    await pull(hub, folder, token_file=tmp_path / "token")
    assert hub.asked[-1]["Authorization"] == "Bearer let-me-in"
    assert "Authorization" not in hub.requests[-1]


async def test_a_hub_that_is_away_is_said_with_the_way_to_do_without(folder: Path) -> None:
    with pytest.raises(Unreachable) as refused:
        await pulling.look(Source("http://127.0.0.1:9", patience=QUICK), parse(REPO))
    assert "--from FILE" in refused.value.remedy
    assert "ssl" not in refused.value.problem, "it says what the system says, and not how the client is set up"


async def test_all_parts_of_a_split_model_come_and_the_first_is_put_there_last(hub: LocalHub, folder: Path) -> None:
    split = [f"big-q4_k_m-0000{n}-of-00002.gguf" for n in (1, 2)]
    hub.repositories[REPO] = {name: Upstream(gguf_bytes(50_000, seed=n)) for n, name in enumerate(split)}
    pulled = await pull(hub, folder)
    assert (pulled.name, pulled.size) == ("big-q4_k_m", 100_000)
    assert [model.name for model in shelf.present(folder)] == ["big-q4_k_m"]
    shelf.remove(shelf.find(folder, "big-q4_k_m"))
    assert not any(names(folder))


async def test_an_address_is_held_against_what_is_given_or_what_its_server_tells(hub: LocalHub, folder: Path) -> None:
    source = Source(hub.url, patience=QUICK)
    true = checksums.sha256(upstream(hub).sha256, "you")
    wrong = checksums.sha256("1" * 64, "you")
    plain, linked = f"{hub.url}/plain/{REPO}/{FILE}", f"{hub.url}/{REPO}/resolve/main/{FILE}"

    async def add(url: str, word: checksums.Checksum | None) -> str | None:
        pulled = await pulling.from_address(folder, source, url, unseen, name=None, checksum=word)
        return pulled.vouched_by

    with pytest.raises(CommandError, match="is not the file that you vouch"):
        await add(plain, wrong)
    assert not any(names(folder))
    assert await add(plain, true) == "you"
    assert await add(plain, None) is None, "nobody vouches for it, and that is told"
    shelf.remove(shelf.find(folder, "tiny-q4_k_m"))
    assert await add(linked, None) == "the server (X-Linked-Etag)"


async def test_a_file_from_elsewhere_is_not_overwritten_unasked(hub: LocalHub, folder: Path) -> None:
    (folder / FILE).write_bytes(gguf_bytes(seed=9))
    with pytest.raises(CommandError, match="put there by hand"):
        await pull(hub, folder)
    assert content(folder) == gguf_bytes(seed=9)


def test_a_file_is_taken_without_a_network_and_its_checksum_honoured(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "stick" / FILE
    source.parent.mkdir()
    source.write_bytes(gguf_bytes())
    taken = pulling.from_file(folder, source, unseen, name=None, checksum=None)
    assert (taken.name, taken.vouched_by) == ("tiny-q4_k_m", None)
    shelf.remove(shelf.find(folder, taken.name))
    (source.parent / "SHA256SUMS").write_text(f"{hashlib.sha256(gguf_bytes()).hexdigest()}  {FILE}\n")
    assert pulling.from_file(folder, source, unseen, name=None, checksum=None).vouched_by == "SHA256SUMS"
    shelf.remove(shelf.find(folder, taken.name))
    source.with_name(f"{FILE}.sha256").write_text("2" * 64 + "\n")
    with pytest.raises(CommandError, match="vouches for"):
        pulling.from_file(folder, source, unseen, name=None, checksum=None)
    assert not any(names(folder))
    source.write_bytes(b"GGUF but no more")
    with pytest.raises(CommandError, match="no GGUF model"):
        pulling.from_file(folder, source, unseen, name=None, checksum=None)


def test_two_commands_do_not_write_the_same_part(folder: Path) -> None:
    identity = parts.Identity(url="x")
    again = parts.opened(folder / "a.part", identity, "sha256")
    with parts.opened(folder / "a.part", identity, "sha256"), pytest.raises(CommandError, match="another command"):
        again.__enter__()
