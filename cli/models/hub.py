"""A client of the Hugging Face hub's HTTP protocol: what a repository holds, and where each of its files is had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cli.errors import CommandError, Exit
from cli.models.checksums import Checksum, of_hub
from cli.models.reference import Reference
from cli.version import product_version

_CONNECT_S = 10.0
_SILENCE_S = 60.0
_TOO_MANY = 429
_GATED = "GatedRepo"
_OFFLINE = "without a network: mongars models pull --from FILE"


class Unreachable(CommandError):
    """Nobody answers, or the connection broke too often."""


@dataclass(frozen=True)
class HubFile:
    """``checksum`` is the hub's own; None where it tells none."""

    name: str
    size: int | None
    checksum: Checksum | None


@dataclass(frozen=True)
class Repository:
    """At one commit. ``licence`` is what its owner declared."""

    name: str
    commit: str
    licence: str | None
    files: dict[str, HubFile]


class _Lfs(BaseModel):
    model_config = ConfigDict(extra="ignore")

    sha256: str | None = None
    size: int | None = None


class _Sibling(BaseModel):
    model_config = ConfigDict(extra="ignore")

    rfilename: str
    size: int | None = None
    blob_id: str | None = Field(default=None, alias="blobId")
    lfs: _Lfs | None = None


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore")

    sha: str = Field(pattern=r"^[0-9a-f]{7,64}$")
    siblings: tuple[_Sibling, ...] = ()
    card: dict[str, Any] | None = Field(default=None, alias="cardData")
    tags: tuple[str, ...] = ()


class Hub:
    """Asks one hub. ``token`` is sent to the hub alone, never to where it redirects."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str | None) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._token = token

    @property
    def headers(self) -> dict[str, str]:
        """Who asks."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    async def repository(self, reference: Reference) -> Repository:
        """Its files with sizes and checksums. Raises CommandError, in words."""
        where = f"{self._url}/api/models/{reference.repository}"
        if reference.revision != "main":
            where += f"/revision/{quote(reference.revision, safe='')}"
        try:
            async with self._session.get(where, params={"blobs": "true"}, headers=self.headers) as reply:
                if reply.status != 200:
                    raise refusal(reply, reference.repository)
                told = _Told.model_validate_json(await reply.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unreachable(self._url, error) from None
        except ValidationError:
            raise CommandError(
                f"{self._url} doesn't answer as a hub does", "check MONGARS_HUB_URL", code=Exit.REFUSED
            ) from None
        return _repository(reference.repository, told)

    def address(self, repository: Repository, file: str) -> str:
        """Of one file at the repository's commit."""
        return f"{self._url}/{repository.name}/resolve/{repository.commit}/{quote(file)}"


def _repository(name: str, told: _Told) -> Repository:
    files = {}
    for sibling in told.siblings:
        lfs = sibling.lfs or _Lfs()
        size = lfs.size if sibling.size is None else sibling.size
        files[sibling.rfilename] = HubFile(sibling.rfilename, size, of_hub(lfs.sha256, sibling.blob_id))
    return Repository(name, told.sha, _licence(told), files)


def _licence(told: _Told) -> str | None:
    declared = (told.card or {}).get("license")
    if isinstance(declared, list):
        declared = ", ".join(str(one) for one in declared)
    if declared:
        return str(declared)
    return next((tag.removeprefix("license:") for tag in told.tags if tag.startswith("license:")), None)


def refusal(reply: aiohttp.ClientResponse, what: str) -> CommandError:
    """A hub's (or any server's) answer in words; a hub hides what is private as if it were not there."""
    first = reply.history[0] if reply.history else reply
    reason = reply.headers.get("X-Error-Code") or first.headers.get("X-Error-Code") or ""
    status = reply.status
    if reason == _GATED or status == 403:
        return CommandError(
            f"{what} is gated: its owner wants its terms accepted first",
            "accept them on its page, and put a token of yours into a file that MONGARS_HUB_TOKEN_FILE names",
            code=Exit.REFUSED,
        )
    if status in (401, 404):
        return CommandError(f"{_missing(what, reason)}", "check how it is written", code=Exit.REFUSED)
    if status == _TOO_MANY:
        wait = reply.headers.get("Retry-After")
        return CommandError("the server asks to slow down", f"try again in {wait or 'some'} seconds", code=Exit.REFUSED)
    return CommandError(f"{what}: the server answered {status}", "try again later", code=Exit.REFUSED)


def _missing(what: str, reason: str) -> str:
    if reason == "RevisionNotFound":
        return f"{what} has no such revision"
    return f"there is no {what}, or it is private"


def unreachable(where: str, error: BaseException) -> Unreachable:
    """Nobody answers there."""
    plain = getattr(error, "strerror", None) or str(error) or type(error).__name__
    said = "no answer in time" if isinstance(error, TimeoutError) else plain
    return Unreachable(f"{where} can't be reached: {said}", f"is there a network? {_OFFLINE}")


@asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that bounds every silence, and no download as a whole."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
    agent = {"User-Agent": f"mongars/{product_version()}"}
    async with aiohttp.ClientSession(timeout=timeout, headers=agent, trust_env=True) as session:
        yield session


def read_token(path: Path | None) -> str | None:
    """From the file that MONGARS_HUB_TOKEN_FILE names. Raises CommandError."""
    if path is None:
        return None
    try:
        return path.read_text().strip() or None
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}", "mend or unset MONGARS_HUB_TOKEN_FILE") from None
