"""Which addresses belong to this machine or its network, and which lie beyond it. Pure."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

_OWN = tuple(
    map(
        ip_network,
        (
            "127.0.0.0/8",
            "::1/128",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "fc00::/7",
            "169.254.0.0/16",
            "fe80::/10",
        ),
    )
)
"""Loopback (RFC 1122, 4291), private (RFC 1918, 4193), link-local (RFC 3927, 4291), and nothing else."""


def is_remote(address: str) -> bool:
    """Whether what is sent to this IP address leaves the network; what can't be read as an address does."""
    try:
        found = ip_address(address)
    except ValueError:
        return True
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return not any(found.version == own.version and found in own for own in _OWN)
