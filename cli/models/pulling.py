"""Bringing a model onto the shelf: from the hub, from an address, or from a file, each verified as far as it can be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cli.errors import CommandError, Exit
from cli.models import checksums, shelf, transfer
from cli.models import part as parts
from cli.models.checksums import Checksum
from cli.models.hub import Hub, HubFile, Repository, open_session, read_token
from cli.models.reference import Reference, choose
from cli.models.transfer import Fetched, Patience, Wanted, Watch
from libs.shared import gguf
from libs.shared.errors import ModelBroken

ShowProgress = Callable[[str], AbstractContextManager[Watch]]
"""Shows how one file comes along, by its name."""


@dataclass(frozen=True)
class Source:
    """The hub to ask, and how long to try."""

    hub_url: str
    token_file: Path | None = None
    patience: Patience | None = None


@dataclass(frozen=True)
class Pulled:
    """A model that is on the shelf now. ``already``: it was there before, the very same."""

    name: str
    file: Path
    size: int
    licence: str | None
    origin: str
    vouched_by: str | None
    already: bool = False


@dataclass(frozen=True)
class Offered:
    """What a pull would bring, as the hub tells it."""

    repository: Repository
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int | None:
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


async def look(source: Source, reference: Reference) -> Offered:
    """Asks the hub what there is. Raises CommandError."""
    async with open_session() as session:
        repository = await Hub(session, source.hub_url, read_token(source.token_file)).repository(reference)
    names = choose(tuple(repository.files), reference.wanted, reference.repository)
    return Offered(repository, tuple(repository.files[name] for name in names))


async def from_hub(
    folder: Path, source: Source, offered: Offered, show: ShowProgress, name: str | None = None
) -> Pulled:
    """Brings every part of it, verified by the hub's own checksums. Raises CommandError."""
    names = _local_names(offered, name)
    if already := _already(folder, offered, names):
        return already
    async with open_session() as session:
        hub = Hub(session, source.hub_url, read_token(source.token_file))
        wanted = [
            Wanted(hub.address(offered.repository, f.name), local, f.size, f.checksum, hub.headers)
            for f, local in zip(offered.files, names, strict=True)
        ]
        _require_disk(folder, wanted)
        fetched = []
        for one in wanted:
            with show(one.label) as watch:
                fetched.append(
                    await transfer.fetch(session, one, shelf.part_path(folder, one.label), watch, source.patience)
                )
    _check_first(fetched[0], names[0])
    for file, brought, local in reversed(list(zip(offered.files, fetched, names, strict=True))):
        # the first part last: inference takes the model for whole when that one is there
        target = shelf.put(folder, local, _manifest_of(offered.repository, file, brought))
    return _pulled(target)


async def from_address(
    folder: Path, source: Source, url: str, show: ShowProgress, *, name: str | None, checksum: Checksum | None
) -> Pulled:
    """Brings a file from any address, verified by ``checksum`` or by what its server tells. Raises CommandError."""
    parsed = urlsplit(url)
    if parsed.scheme not in ("http", "https") or not parsed.netloc:
        raise CommandError(f"{url} is no address of a file", "http://… or https://…", code=Exit.USAGE)
    local = shelf.file_name(name or unquote(parsed.path).rsplit("/", 1)[-1])
    wanted = Wanted(url, local, checksum=checksum)
    _refuse_other(folder, local, lambda m: m.origin == _without_secrets(url))
    async with open_session() as session:
        with show(local) as watch:
            part = shelf.part_path(folder, local)
            fetched = await transfer.fetch(session, wanted, part, watch, source.patience)
    _check_first(fetched, local)
    manifest = _manifest("url", _without_secrets(url), fetched, None)
    return _pulled(shelf.put(folder, local, manifest))


def from_file(folder: Path, path: Path, show: ShowProgress, *, name: str | None, checksum: Checksum | None) -> Pulled:
    """Copies a file (and the other parts of a split one), without a network. Raises CommandError."""
    sources = gguf.parts(path)
    if name is not None and len(sources) > 1:
        raise CommandError("a model in several files keeps its name", "leave out --name", code=Exit.USAGE)
    vouched = [checksum if checksum and one == path else checksums.beside(one) for one in sources]
    shelf.check_header(path, path.name)
    transfer.require_disk(folder, sum(one.stat().st_size for one in sources), path.name)
    for one, word in reversed(list(zip(sources, vouched, strict=True))):
        local = shelf.file_name(name or one.name)
        _refuse_other(folder, local, lambda _: True)
        with show(local) as watch:
            fetched = _copied(one, shelf.part_path(folder, local), word, watch)
        target = shelf.put(folder, local, _manifest("file", str(one), fetched, None))
    return _pulled(target)


def _copied(source: Path, path: Path, vouched: Checksum | None, watch: Watch) -> Fetched:
    parts.discard(path)
    size = source.stat().st_size
    identity = parts.Identity(url=str(source), size=size)
    with source.open("rb") as file, parts.opened(path, identity, "sha256") as part:
        while piece := file.read(checksums.PIECE):
            part.write(piece)
            watch(part.length, size)
        part.flush()
        digest = part.digest()
    if vouched is not None and digest != vouched.value:
        parts.discard(path)
        raise CommandError(
            f"{source.name} is not the file that {vouched.source} vouches for (sha256 {digest}, "
            f"where {vouched.value} was told)",
            "bring it again",
            code=Exit.REFUSED,
        )
    return Fetched(path, size, digest, vouched)


def _local_names(offered: Offered, name: str | None) -> list[str]:
    if name is not None and len(offered.files) > 1:
        raise CommandError("a model in several files keeps its name", "leave out --name", code=Exit.USAGE)
    return [shelf.file_name(name or file.name.rsplit("/", 1)[-1]) for file in offered.files]


def _already(folder: Path, offered: Offered, names: list[str]) -> Pulled | None:
    """The model, when all its files are there with the checksums that the hub tells now."""
    for file, local in zip(offered.files, names, strict=True):
        known = shelf.read_manifest(folder / local)
        same = known is not None and file.checksum is not None and known.checksum == file.checksum.value
        if not same or not (folder / local).is_file() or (folder / local).stat().st_size != file.size:
            _refuse_other(folder, local, lambda m: m.origin.startswith(offered.repository.name + "@"))
            return None
    found = _pulled(folder / names[0])
    return Pulled(**{**vars(found), "already": True})


def _refuse_other(folder: Path, local: str, ours: Callable[[shelf.Manifest], bool]) -> None:
    """A file of that name that came from elsewhere is not overwritten unasked."""
    if not (folder / local).exists():
        return
    known = shelf.read_manifest(folder / local)
    if known is None or not ours(known):
        raise CommandError(
            f"there is another model {shelf.served_name(local)} already"
            + (f", from {known.origin}" if known else ", put there by hand"),
            f"give this one another name with --name, or first: mongars models rm {shelf.served_name(local)}",
            code=Exit.REFUSED,
        )


def _require_disk(folder: Path, wanted: list[Wanted]) -> None:
    missing = sum((one.size or 0) - parts.length(shelf.part_path(folder, one.label), one.identity) for one in wanted)
    transfer.require_disk(folder, missing, wanted[0].label)


def _check_first(fetched: Fetched, local: str) -> None:
    try:
        shelf.check_header(fetched.part, local)
    except CommandError:
        parts.discard(fetched.part)
        raise


def _manifest_of(repository: Repository, file: HubFile, fetched: Fetched) -> shelf.Manifest:
    origin = f"{repository.name}@{repository.commit}:{file.name}"
    return _manifest("hub", origin, fetched, repository.licence)


def _manifest(source: str, origin: str, fetched: Fetched, licence: str | None) -> shelf.Manifest:
    vouched = fetched.vouched
    return shelf.Manifest.model_validate(
        {
            "source": source,
            "origin": origin,
            "licence": licence or _declared(fetched.part),
            "size": fetched.size,
            "checksum": fetched.digest,
            "checksum_kind": vouched.kind if vouched else "sha256",
            "vouched_by": vouched.source if vouched else None,
            "at": shelf.now(),
        }
    )


def _declared(path: Path) -> str | None:
    """The licence that a model's own header names."""
    try:
        told = gguf.read_header(path).metadata.get("general.license")
    except ModelBroken:
        return None
    return told if isinstance(told, str) and told else None


def _pulled(target: Path) -> Pulled:
    known = shelf.read_manifest(target)
    assert known is not None, "it was written with the file"
    return Pulled(
        name=shelf.served_name(target.name),
        file=target,
        size=sum(path.stat().st_size for path in gguf.parts(target)),
        licence=known.licence,
        origin=known.origin,
        vouched_by=known.vouched_by,
    )


def _without_secrets(url: str) -> str:
    """Without user, query and fragment: the manifest is shown."""
    parsed = urlsplit(url)
    return parsed._replace(netloc=parsed.netloc.rpartition("@")[2], query="", fragment="").geturl()


def free_mib(folder: Path) -> float:
    """Of the disk of ``folder``."""
    return shutil.disk_usage(folder).free / 2**20
