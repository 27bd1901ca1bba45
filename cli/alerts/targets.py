"""Where alerts go, as the owner chose: kept in the state folder, tokens only by the file that holds them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cli.errors import CommandError, Exit
from libs.shared.layout import StateFolder

NTFY = "ntfy"
JSON = "json"
_MOST = 20


@dataclass(frozen=True)
class Target:
    """``kind``: ``ntfy`` (text with headers, to URL/topic) or ``json`` (one object)."""

    url: str
    kind: str = NTFY
    token_file: str | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


def checked(url: str, topic: str | None, kind: str, token_file: Path | None) -> Target:
    """Raises CommandError for what no alert could be sent to."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise CommandError(
            "that is no address for alerts", "write it so: https://ntfy.example/topic; a token goes into --token-file"
        )
    if kind not in (NTFY, JSON):
        raise CommandError(f"{kind} is no kind of webhook", f"one of: {NTFY}, {JSON}", code=Exit.USAGE)
    if token_file is not None and not token_file.is_file():
        raise CommandError(f"{token_file} is not there", "write the token into a file of yours", code=Exit.USAGE)
    whole = f"{url.rstrip('/')}/{topic}" if topic else url
    return Target(whole, kind, str(token_file.resolve()) if token_file else None)


def read(folder: StateFolder) -> list[Target]:
    """Raises CommandError for a file that can't be read as ours."""
    try:
        rows = json.loads(folder.alerts.read_text())
        return [Target(str(row["url"]), str(row["kind"]), row.get("token_file")) for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError):
        raise CommandError(f"{folder.alerts} can't be read", "remove it, and add the addresses again") from None


def write(folder: StateFolder, targets: list[Target]) -> None:
    """Replaces the list. Raises CommandError when it is too long."""
    if len(targets) > _MOST:
        raise CommandError(f"there are {_MOST} addresses already", "remove one: mongars alerts rm")
    aside = folder.alerts.with_name(folder.alerts.name + ".new")
    aside.write_text(json.dumps([asdict(target) for target in targets], indent=1) + "\n")
    aside.replace(folder.alerts)
