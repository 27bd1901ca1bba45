"""What an installation says about its side to the network."""

from __future__ import annotations

from typing import Any

from cli.installation import Installation


def described(installation: Installation) -> dict[str, Any] | None:
    """For programs; None where it is on loopback alone."""
    from cli.lan.authority import fingerprint
    from cli.lan.opening import authority_of, names_of
    from cli.lan.trusting import addresses

    lan, folder = installation.marker.lan, installation.folder
    if lan is None:
        return None
    found: dict[str, Any] = {"urls": addresses(lan.host, lan.port, names_of(folder)), "given": lan.given}
    if not lan.given:
        found |= {"authority": str(folder.tls_authority), "sha256": fingerprint(authority_of(folder))}
    return found


def told(installation: Installation) -> list[str]:
    """For people: where it is reached, and how to trust it."""
    from cli.lan.trusting import instructions

    found = described(installation)
    if found is None:
        return []
    if found["given"]:
        return [
            "Other machines reach it at:",
            *(f"  {url}" for url in found["urls"]),
            "with the certificate that was given.",
        ]
    return list(instructions(found["authority"], found["sha256"], found["urls"]))
