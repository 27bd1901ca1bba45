"""Servers of models: tried as inference would ask them, then kept in the state folder, their keys among its keys."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.errors import CommandError, Exit
from libs.shared import upstreams
from libs.shared.durable import sync_folder, write_private
from libs.shared.layout import StateFolder
from libs.shared.roles import PREFIX
from libs.shared.upstreams import AddedUpstream, Found

_TRIAL = "services.inference.upstream_trial"
_TRIAL_TIMEOUT_S = 300.0
"""A large model is loaded for its first answer."""
_LONGEST_KEY = 4096
_REMEDIES = {
    "remote_not_allowed": "an admin allows it for all such servers with: mongars upstreams allow-remote on",
    "no_such_host": "check the name, and that this machine can look it up",
    "unreachable": "start the server, and check its port and that it listens beyond its own machine",
    "timeout": "try again when it is less busy; check that no firewall swallows the connection",
    "tls": "use its http:// address if it has no certificate, or add its authority to this machine's trusted ones",
    "unauthorized": "bring the right key: --key-file FILE",
    "protocol": "name the address under which it speaks OpenAI's API, often with /v1 at its end, or an Ollama's",
    "model_not_found": "name the address under which it speaks OpenAI's API, often with /v1 at its end, or an Ollama's",
    "model": "leave out --model to see all that it lists",
    "answer": "name one that can chat: --model NAME",
    "overloaded": "try again in a moment",
    "no_key": "make the key's file readable",
}


def checked_url(url: str) -> str:
    """Raises CommandError for what is no server's address, or holds a secret."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", url)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise CommandError(f"{url!r} is no server's address", "such as http://192.168.1.20:11434", code=Exit.USAGE)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise CommandError(
            "an address is kept and shown, so it may hold no name, password or query",
            "put the key into a file: --key-file FILE",
            code=Exit.USAGE,
        )
    return url.rstrip("/")


def refuse_own(url: str, http_port: int) -> None:
    """Raises CommandError for the installation's own gateway: it would ask itself without end."""
    parts = urlsplit(url)
    if parts.port == http_port and parts.hostname in ("localhost", "127.0.0.1", "::1"):
        raise CommandError(f"{url} is this installation itself", "name another server", code=Exit.USAGE)


def name_for(url: str) -> str:
    """A name for a server that was given none: what tells its host. Pure."""
    host = urlsplit(url).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        parts = [part for part in host.split(".") if part not in ("api", "www")]
        host = parts[0] if parts else host
    return re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")[:40].strip("-") or "upstream"


def checked_name(name: str) -> str:
    """Raises CommandError."""
    if name == PREFIX.rstrip("/"):
        raise CommandError(f"{PREFIX}… names the roles of models", "choose another: --name NAME", code=Exit.USAGE)
    if not re.fullmatch(upstreams.NAME, name):
        raise CommandError(
            f"{name!r} can't be an upstream's name", "small letters, digits and dashes: --name NAME", code=Exit.USAGE
        )
    return name


def checked_key(path: Path) -> str:
    """The key in a file, which is one line of plain characters. Raises CommandError that never quotes it."""
    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not plain text"
        raise CommandError(f"the key can't be read from {path}: {why}", "name another: --key-file FILE") from None
    if not key or not key.isprintable() or " " in key or len(key) > _LONGEST_KEY:
        raise CommandError(f"{path} holds no key", "the file holds the key alone, on one line", code=Exit.USAGE)
    return key


def added(folder: StateFolder) -> tuple[AddedUpstream, ...]:
    """Raises CommandError when the file can't be read."""
    try:
        return upstreams.read(folder.upstreams)
    except (OSError, ValueError):
        raise CommandError(
            f"{folder.upstreams} can't be read", "restore it from a backup, or remove it and add the servers again"
        ) from None


def named(folder: StateFolder, name: str) -> AddedUpstream:
    """Raises CommandError."""
    found = next((one for one in added(folder) if one.name == name), None)
    if found is None:
        raise CommandError(f"no upstream {name} was added", "see: mongars upstreams list", code=Exit.REFUSED)
    return found


def trial(
    url: str, name: str, *, models: tuple[str, ...], key_file: Path | None, remote: bool, backend: str | None = None
) -> Found:
    """Asks the server. Raises CommandError with the remedy; the key goes by its file's name alone."""
    asked = {
        "url": url,
        "name": name,
        "models": models,
        "key_file": str(key_file) if key_file else None,
        "remote": remote,
        "backend": backend,
    }
    try:
        ran = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", _TRIAL],
            input=json.dumps(asked) + "\n",
            capture_output=True,
            text=True,
            timeout=_TRIAL_TIMEOUT_S,
            check=False,
        )
        told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise _refused(url, "timeout", "no answer came") from None
    except (ValueError, IndexError):
        raise CommandError(f"{url} could not be tried", "see what it answers with another client") from None
    if "refused" in told:
        raise _refused(url, str(told["refused"]), str(told["detail"]))
    return Found(**{**told, "models": tuple(told["models"]), "remote_models": tuple(told["remote_models"])})


def keep(folder: StateFolder, one: AddedUpstream, key: str | None) -> None:
    """The key first, so that whoever reads of the upstream finds it."""
    if key is not None:
        path = folder.upstream_key(one.name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_private(path, key.encode() + b"\n")
    write_private(folder.upstreams, upstreams.text_of((*added(folder), one)))


def remove(folder: StateFolder, name: str) -> None:
    """Raises CommandError when there is none of that name."""
    named(folder, name)
    write_private(folder.upstreams, upstreams.text_of(tuple(one for one in added(folder) if one.name != name)))
    key = folder.upstream_key(name)
    if key.exists():
        key.unlink()
        sync_folder(key.parent)


def _refused(url: str, reason: str, detail: str) -> CommandError:
    return CommandError(
        f"{url}: {detail}", _REMEDIES.get(reason, "see: mongars upstreams add --help"), code=Exit.REFUSED
    )
