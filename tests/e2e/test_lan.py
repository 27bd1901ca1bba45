"""Other machines: over TLS that a client can check, and in no other way. Addresses of loopback stand for theirs."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.installation import Installation, unusual_port

_OUTSIDE = "127.0.0.2"


def opens(url: str, context: ssl.SSLContext) -> bool:
    with urllib.request.urlopen(f"{url}/readyz", timeout=10, context=context) as reply:
        return bool(reply.status == 200)


def listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def test_with_lan_others_come_in_over_tls_that_they_can_check_and_the_command_works_on(
    make_installation: Callable[..., Installation], tmp_path: Path
) -> None:
    made = make_installation()
    port = unusual_port()
    ran = made.run(
        "up", "--detach", "--lan", "--host", _OUTSIDE, "--lan-port", str(port), "--port", str(unusual_port())
    )
    assert ran.returncode == 0, ran.stderr
    assert f"https://{_OUTSIDE}:{port}" in ran.stdout
    for system in ("Debian", "Fedora", "macOS", "Windows", "Firefox", "SHA-256"):
        assert system in ran.stdout
    authority = tmp_path / "authority.pem"
    authority.write_text(made.mongars("trust", "--certificate"))
    trusting = ssl.create_default_context(cafile=str(authority))
    url = f"https://{_OUTSIDE}:{port}"
    assert opens(url, trusting)
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        opens(url, ssl.create_default_context())
    with pytest.raises((urllib.error.URLError, OSError)):
        urllib.request.urlopen(f"http://{_OUTSIDE}:{port}/readyz", timeout=10)
    inside = urlsplit(made.url).port
    assert inside is not None
    assert not listens(_OUTSIDE, inside), "what is without TLS is on loopback's own address alone"
    made.mongars("memory", "add", "The spare key hangs in the barn.", "--user", "ada")
    made.mongars("chat", "--user", "ada", "--message", "Where does the spare key hang?")
    assert json.loads(made.mongars("trust", "--json"))["urls"] == [url]
