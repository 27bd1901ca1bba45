"""Which certificate the gateway shows on the network: made, renewed or taken over at each start."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cli import ports
from cli.errors import CommandError, Exit
from cli.installation import Installation, Lan, write_marker
from cli.lan.authority import Names, Signed, new_authority, new_certificate, permitted, serves, vouches_for
from cli.lan.signed_files import read_signed, write_signed
from libs.shared.layout import StateFolder

EVERYWHERE = "0.0.0.0"  # noqa: S104 - the whole point of --lan, and only ever over TLS
EVERYWHERE_TOO = (EVERYWHERE, "::")
HTTPS_PREFERRED = 8443


def opened(
    installation: Installation, host: str | None, certificate: Path | None, key: Path | None, *, port: int | None
) -> Installation:
    """The installation with its network side as ``--lan`` wants it; kept for later starts. Raises CommandError."""
    if (certificate is None) is not (key is None):
        raise CommandError(
            "--tls-cert and --tls-key go together", "name both, or neither for an own authority", code=Exit.USAGE
        )
    before = installation.marker.lan
    chosen = host or (before.host if before else EVERYWHERE)
    _require_address(chosen)
    if certificate is not None and key is not None:
        _take_over(installation.folder, certificate, key)
    given = certificate is not None or (before is not None and before.given and host is None)
    wanted = port or (before.port if before else None)
    taken = frozenset({installation.marker.ports.http, installation.marker.ports.nats})
    lan = Lan(host=chosen, port=wanted or ports.choose(HTTPS_PREFERRED, taken=taken), given=given)
    return write_marker(installation.folder, installation.marker.model_copy(update={"lan": lan}))


def closed(installation: Installation) -> Installation:
    """Loopback alone again; the authority stays for the next time."""
    if installation.marker.lan is None:
        return installation
    return write_marker(installation.folder, installation.marker.model_copy(update={"lan": None}))


def renew(folder: StateFolder, lan: Lan, now: datetime | None = None) -> None:
    """Makes what is missing, ends soon or lacks a name. Raises CommandError for given files that have ended."""
    moment = now or datetime.now(UTC)
    if lan.given:
        _require_valid(folder, moment)
        return
    hostname = socket.gethostname()
    chosen = () if lan.host in EVERYWHERE_TOO else (lan.host,)
    names = permitted(hostname, (*own_addresses(), *chosen))
    authority = read_signed(folder.tls_authority, folder.tls_authority_key)
    if authority is None or not vouches_for(authority, hostname, moment):
        authority = new_authority(hostname, moment)
        write_signed(folder.tls_authority, folder.tls_authority_key, authority)
    certificate = read_signed(folder.tls_certificate, folder.tls_key)
    if certificate is None or not serves(certificate, authority, names, moment):
        write_signed(folder.tls_certificate, folder.tls_key, new_certificate(authority, names, moment))


def authority_of(folder: StateFolder) -> Signed:
    """Raises CommandError when there is none."""
    found = read_signed(folder.tls_authority, folder.tls_authority_key)
    if found is None:
        raise CommandError("there is no authority to trust", "open the installation first: mongars up --lan")
    return found


def own_addresses() -> tuple[str, ...]:
    """Every address of this machine's interfaces."""
    import psutil

    rows = (row for interface in psutil.net_if_addrs().values() for row in interface)
    internet = (socket.AF_INET, socket.AF_INET6)
    return tuple(row.address.partition("%")[0] for row in rows if row.family in internet)


def names_of(folder: StateFolder) -> Names:
    """What the certificate that is shown says it is for. Raises ValueError for one that can't be read."""
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(folder.tls_certificate.read_bytes())
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = extension.get_values_for_type(x509.IPAddress)
    return Names(tuple(extension.get_values_for_type(x509.DNSName)), tuple(map(str, addresses)))


def _require_address(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise CommandError(
            f"--host {host} is no address", f"{EVERYWHERE}, or an address of this machine", code=Exit.USAGE
        ) from None


def _take_over(folder: StateFolder, certificate: Path, key: Path) -> None:
    """Copies them, so that the folder stays whole wherever it is. Raises CommandError when they don't fit."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
        pair = Signed(certificate.read_bytes(), key.read_bytes())
    except (OSError, ssl.SSLError, ValueError) as error:
        raise CommandError(
            f"{certificate} and {key} can't be used: {getattr(error, 'strerror', None) or error}",
            "a certificate (with its chain) and its key without a password, both PEM",
        ) from None
    write_signed(folder.tls_certificate, folder.tls_key, pair)


def _require_valid(folder: StateFolder, now: datetime) -> None:
    found = read_signed(folder.tls_certificate, folder.tls_key)
    again = "give the new ones: mongars up --lan --tls-cert FILE --tls-key FILE"
    if found is None:
        raise CommandError("the certificate that was given is gone", again)
    if (ends := found.parsed.not_valid_after_utc) <= now:
        raise CommandError(f"the certificate that was given ended on {ends.date()}", again)
