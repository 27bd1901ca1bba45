"""How other machines come to trust an installation's authority, in words that can be followed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cli.lan.authority import Names

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not listened on
_NAME = "mongars-ca"


def addresses(host: str, port: int, names: Names) -> list[str]:
    """Where it can be reached from elsewhere; the nicest first."""
    if host not in _EVERYWHERE:
        return [_url(host, port)]
    hosts = [name for name in names.hosts if name.endswith(".local") and name != "localhost.local"]
    outside = [a for a in names.addresses if not a.startswith(("127.", "::1", "fe80", "169.254."))]
    return [_url(name, port) for name in (*hosts, *outside)]


def instructions(file: str, fingerprint: str, urls: Sequence[str]) -> Iterable[str]:
    """Plain lines."""
    yield "Other machines reach it at:"
    yield from (f"  {url}" for url in urls)
    yield ""
    yield "Their browsers warn until they trust this installation's own authority, which can vouch for this machine and"
    yield "private addresses alone. Its certificate (public; its key never leaves the keys folder):"
    yield f"  file         {file}"
    yield f"  SHA-256      {fingerprint}"
    yield f"Bring it there (mongars trust --certificate > {_NAME}.pem), compare the fingerprint, and:"
    yield f"  Debian       sudo cp {_NAME}.pem /usr/local/share/ca-certificates/{_NAME}.crt && \\"
    yield "               sudo update-ca-certificates"
    yield f"  Fedora       sudo cp {_NAME}.pem /etc/pki/ca-trust/source/anchors/ && sudo update-ca-trust"
    yield "  macOS        sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain \\"
    yield f"               {_NAME}.pem"
    yield f"  Windows      certutil -addstore -f Root {_NAME}.pem   (as administrator)"
    yield "  Firefox      Settings, Privacy & Security, View Certificates, Authorities, Import"
    yield f"  a program    SSL_CERT_FILE={_NAME}.pem, or curl --cacert {_NAME}.pem"


def _url(host: str, port: int) -> str:
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
