"""A certificate authority for one installation, which can vouch for this machine alone, and the certificate it signs.

X.509 by the ``cryptography`` package. Keys are P-256; the certificate ends before the 398 days that browsers accept.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY_LIFE = timedelta(days=3650)
_LIFE = timedelta(days=390)
RENEWED_BEFORE = timedelta(days=30)
_CLOCKS_DIFFER = timedelta(days=1)
_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        (
            *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8"),
            *("fc00::/7", "fe80::/10", "::1/128"),
        ),
    )
)
"""Where a house's machines are; the authority is believed for nothing else, should its key ever be stolen."""
_LOCAL_DOMAINS = ("localhost", "local", "lan", "home.arpa", "internal")


@dataclass(frozen=True)
class Names:
    """What a certificate is for."""

    hosts: tuple[str, ...]
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes

    @property
    def parsed(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate)


def permitted(hostname: str, addresses: Iterable[str]) -> Names:
    """This machine's names as the authority may vouch for them: no address that the whole internet reaches."""
    name = hostname.lower().rstrip(".")
    short = name.partition(".")[0]
    hosts = dict.fromkeys(("localhost", name, short, f"{short}.local"))
    private = (address for address in map(ipaddress.ip_address, addresses) if any(address in net for net in _PRIVATE))
    local = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))
    chosen = sorted({*private, *local}, key=lambda address: (address.version, int(address)))
    return Names(tuple(host for host in hosts if host), tuple(map(str, chosen)))


def new_authority(hostname: str, now: datetime) -> Signed:
    """An authority for the machine of that name and for private addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"monGARS on {hostname}"[:64])
    names = permitted(hostname, ())
    roots = dict.fromkeys((*_LOCAL_DOMAINS, *names.hosts))
    allowed: list[x509.GeneralName] = [*map(x509.DNSName, roots), *map(x509.IPAddress, _PRIVATE)]
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    made = (
        _begun(subject, subject, key.public_key(), now, _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.NameConstraints(allowed, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Signed(made.public_bytes(serialization.Encoding.PEM), _pem(key))


def new_certificate(authority: Signed, names: Names, now: datetime) -> Signed:
    """One for ``names``, followed by the authority's own."""
    issuer_key = serialization.load_pem_private_key(authority.key, password=None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [
        *map(x509.DNSName, names.hosts),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in names.addresses),
    ]
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    made = (
        _begun(_name(names.hosts[-1][:64]), authority.parsed.subject, key.public_key(), now, _LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return Signed(made.public_bytes(serialization.Encoding.PEM) + authority.certificate, _pem(key))


def vouches_for(authority: Signed, hostname: str, now: datetime) -> bool:
    """Whether an authority that was made earlier still does for a machine of this name."""
    certificate = authority.parsed
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    roots = {name.value for name in constraints.permitted_subtrees or () if isinstance(name, x509.DNSName)}
    lives = certificate.not_valid_after_utc - now > _LIFE
    return lives and set(permitted(hostname, ()).hosts) <= roots


def serves(certificate: Signed, authority: Signed, names: Names, now: datetime) -> bool:
    """Whether a certificate is the authority's, ends late enough, and names everything in ``names``."""
    found = certificate.parsed
    extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = set(extension.get_values_for_type(x509.DNSName))
    addresses = {str(address) for address in extension.get_values_for_type(x509.IPAddress)}
    return (
        certificate.certificate.endswith(authority.certificate)
        and found.not_valid_before_utc <= now
        and found.not_valid_after_utc - now > RENEWED_BEFORE
        and set(names.hosts) <= hosts
        and set(names.addresses) <= addresses
    )


def fingerprint(certificate: Signed) -> str:
    """SHA-256 as browsers show it: ``AB:CD:…``."""
    return certificate.parsed.fingerprint(hashes.SHA256()).hex(":").upper()


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + life)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
