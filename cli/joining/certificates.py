"""The authority that joined machines pin, and the certificate that the entrance shows them.

Apart from the gateway's: that one is made anew when this machine's name changes, and every node would have to join
again.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from cli.joining import members
from cli.joining.protocol import TLS_NAME
from cli.lan.authority import Names, new_authority, new_certificate, serves
from cli.lan.signed_files import read_signed, write_signed
from libs.shared.layout import StateFolder

_NAMES = Names((TLS_NAME,), ())
Files = tuple[tuple[int, int] | None, ...]


def renew(folder: StateFolder, now: datetime | None = None) -> bool:
    """Makes what is missing, and the certificate anew a month before it ends; whether it made one. Under
    ``members.changing``."""
    moment = now or datetime.now(UTC)
    authority = read_signed(folder.nodes_authority, folder.nodes_authority_key)
    if authority is None:
        authority = new_authority(TLS_NAME, moment)
        write_signed(folder.nodes_authority, folder.nodes_authority_key, authority)
    certificate = read_signed(folder.entrance_certificate, folder.entrance_key)
    if certificate is not None and serves(certificate, authority, _NAMES, moment):
        return False
    write_signed(folder.entrance_certificate, folder.entrance_key, new_certificate(authority, _NAMES, moment))
    return True


@dataclass(frozen=True)
class Shown:
    """What the entrance shows whoever comes."""

    context: ssl.SSLContext
    authority: str
    """PEM."""
    files: Files


def shown(folder: StateFolder) -> Shown:
    """As it lies in ``folder`` now, renewed where that is due: an invitation renews it too. Raises OSError."""
    with members.changing(folder):
        renew(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(folder.entrance_certificate, folder.entrance_key)
        return Shown(context, folder.nodes_authority.read_text(), files(folder))


def files(folder: StateFolder) -> Files:
    """Tells one certificate's files from the next one's."""
    found = (folder.nodes_authority, folder.entrance_certificate, folder.entrance_key)
    return tuple((one.stat().st_ino, one.stat().st_mtime_ns) if one.exists() else None for one in found)
