"""What ``mongars up`` was told about the network, and whether that makes sense."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cli.errors import CommandError, Exit
from cli.installation import Installation
from cli.settings import CliSettings
from cli.supervision.place import supervisor_of


@dataclass(frozen=True)
class Network:
    """Options as they were given; None where they weren't."""

    lan: bool | None
    host: str | None
    port: int | None
    certificate: Path | None
    key: Path | None

    def require_sense(self, settings: CliSettings) -> None:
        """Raises CommandError: the other options need --lan, and nobody listens on the network without TLS."""
        options = (self.host, self.port, self.certificate, self.key)
        if not self.lan and any(option is not None for option in options):
            raise CommandError(
                "--host, --lan-port, --tls-cert and --tls-key are for --lan", "add --lan", code=Exit.USAGE
            )
        plain = settings.environment.get("MONGARS_HTTP_HOST")
        if plain and not _is_loopback(plain) and not settings.environment.get("MONGARS_TRUSTED_PROXIES"):
            raise CommandError(
                f"MONGARS_HTTP_HOST={plain} would serve the network without TLS",
                "unset it, and run: mongars up --lan (behind a TLS proxy set MONGARS_TRUSTED_PROXIES too)",
                code=Exit.REFUSED,
            )

    def settled(self, installation: Installation) -> Installation:
        """The installation as these options want it. Raises CommandError where it runs otherwise."""
        from cli.lan import opening

        if self.lan is None or (not self.lan and installation.marker.lan is None):
            return installation
        before = installation.marker.lan
        if supervisor_of(installation).processes() is not None:
            if self.lan and before is not None and self.host in (None, before.host) and self.certificate is None:
                return installation
            raise CommandError("the installation is running", "stop it first: mongars down")
        if not self.lan:
            return opening.closed(installation)
        return opening.opened(installation, self.host, self.certificate, self.key, port=self.port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
