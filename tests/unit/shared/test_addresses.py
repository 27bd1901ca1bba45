"""Which addresses lie beyond this network."""

from __future__ import annotations

import pytest

from libs.shared.addresses import is_remote


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "::1",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.20",
        "169.254.7.7",
        "fd00::7",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:192.168.1.20",
    ],
)
def test_this_machine_and_its_network_are_not_remote(address: str) -> None:
    assert not is_remote(address)


@pytest.mark.parametrize(
    "address",
    [
        "203.0.113.7",
        "8.8.8.8",
        "172.32.0.1",
        "172.15.255.255",
        "100.64.0.1",
        "192.0.2.1",
        "0.0.0.0",
        "2001:db8::1",
        "::ffff:203.0.113.7",
        "64:ff9b::c0a8:101",
        "2002:c0a8:101::1",
        "localhost",
        "127.1",
        "",
    ],
)
def test_everything_else_is(address: str) -> None:
    assert is_remote(address)
