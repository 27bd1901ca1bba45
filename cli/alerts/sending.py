"""Sending one alert by HTTP: ntfy's shape, or one JSON object. Standard library alone: the caretaker stays small."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from cli.alerts.deciding import Alert
from cli.alerts.targets import JSON, Target

TIMEOUT_S = 10.0
_URGENT, _USUAL, _LOW = "5", "4", "2"


class NotSent(Exception):
    """The message says why, without the address."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token goes to the address that was chosen, and to no other."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


def request(alert: Alert, target: Target, token: str | None) -> urllib.request.Request:
    """The request as it goes out."""
    priority = _LOW if alert.resolved else _URGENT if alert.urgent else _USUAL
    title = f"Resolved: {alert.title}" if alert.resolved else alert.title
    tag = "white_check_mark" if alert.resolved else "warning"
    if target.kind == JSON:
        body = {
            "event": alert.key,
            "state": "resolved" if alert.resolved else "raised",
            "title": title,
            "message": alert.text,
            "priority": int(priority),
            "at": int(time.time()),
        }
        content, headers = json.dumps(body).encode(), {"content-type": "application/json"}
    else:
        content = alert.text.encode()
        headers = {"content-type": "text/plain; charset=utf-8", "Title": f"monGARS: {title}"}
        headers |= {"Priority": priority, "Tags": f"{tag},mongars"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return urllib.request.Request(target.url, content, headers, method="POST")  # noqa: S310 - checked when it was added


def send(alert: Alert, target: Target) -> None:
    """Blocking. Raises NotSent."""
    try:
        token = Path(target.token_file).read_text().strip() if target.token_file else None
    except OSError:
        raise NotSent("the token's file can't be read") from None
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request(alert, target, token), timeout=TIMEOUT_S) as reply:
            if reply.status >= 300:
                raise NotSent(f"it was answered with {reply.status}")
    except urllib.error.HTTPError as error:
        raise NotSent(f"it was answered with {error.code}") from None
    except (OSError, ValueError) as error:
        raise NotSent(type(error).__name__) from None
