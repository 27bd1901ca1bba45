"""A certificate and its key as two private files."""

from __future__ import annotations

from pathlib import Path

from cli.lan.authority import Signed
from libs.shared.durable import write_private


def read_signed(certificate: Path, key: Path) -> Signed | None:
    """None where one is missing, or the certificate can't be read. Raises OSError."""
    try:
        found = Signed(certificate.read_bytes(), key.read_bytes())
        _ = found.parsed
    except (FileNotFoundError, ValueError):
        return None
    return found


def write_signed(certificate: Path, key: Path, pair: Signed) -> None:
    """The key first, each as a whole. Raises OSError."""
    key.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(key, pair.key)
    write_private(certificate, pair.certificate)
