"""The authority of an installation, what it vouches for, and when certificates are made anew."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.errors import CommandError, Exit
from cli.installation import Lan, Marker, Ports, find, write_marker
from cli.lan.authority import Names, Signed, new_authority, new_certificate, permitted, serves, vouches_for
from cli.lan.choice import Network
from cli.lan.opening import closed, opened, renew
from cli.lan.trusting import addresses
from cli.settings import CliSettings
from libs.shared.layout import StateFolder

NOW = datetime.now(UTC).replace(microsecond=0)
NAMES = permitted("barn.example.org", ("192.168.1.5", "fe80::1", "203.0.113.9", "127.0.0.1"))


def write(folder: Path, name: str, pair: Signed) -> Path:
    (folder / f"{name}.key").write_bytes(pair.key)
    (folder / f"{name}.pem").write_bytes(pair.certificate)
    return folder / f"{name}.pem"


def shakes_hands(folder: Path, served: Signed, authority: Signed, hostname: str) -> str:
    """``ok``, or why a client that trusts the authority alone refuses the server."""
    certificate = write(folder, "served", served)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, certificate.with_suffix(".key"))
    client = ssl.create_default_context(cafile=str(write(folder, "authority", authority)))
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(there, server_side=True).close()
        except OSError:
            there.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        client.wrap_socket(here, server_hostname=hostname).close()
    except ssl.SSLCertVerificationError as error:
        here.close()
        return error.verify_message
    finally:
        thread.join(5)
    return "ok"


def test_private_addresses_and_the_machines_names_are_vouched_for_and_nothing_else() -> None:
    assert (
        Names(("localhost", "barn.example.org", "barn", "barn.local"), ("127.0.0.1", "192.168.1.5", "::1", "fe80::1"))
        == NAMES
    )


@pytest.mark.parametrize("name", ["barn.example.org", "barn.local", "localhost", "192.168.1.5", "127.0.0.1"])
def test_a_client_that_trusts_the_authority_opens_every_name(tmp_path: Path, name: str) -> None:
    authority = new_authority("barn.example.org", NOW)
    assert shakes_hands(tmp_path, new_certificate(authority, NAMES, NOW), authority, name) == "ok"


@pytest.mark.parametrize("stolen_for", ["bank.example", "203.0.113.9"])
def test_a_stolen_authority_vouches_for_nobody_else(tmp_path: Path, stolen_for: str) -> None:
    authority = new_authority("barn.example.org", NOW)
    names = Names((), (stolen_for,)) if stolen_for[0].isdigit() else Names((stolen_for,), ())
    forged = new_certificate(authority, Names(names.hosts or ("barn",), names.addresses), NOW)
    assert "permitted subtree violation" in shakes_hands(tmp_path, forged, authority, stolen_for)


def test_a_certificate_is_renewed_before_it_ends_and_when_a_name_is_new() -> None:
    authority = new_authority("barn", NOW)
    made = new_certificate(authority, NAMES, NOW)
    assert serves(made, authority, NAMES, NOW)
    assert not serves(made, authority, NAMES, NOW + timedelta(days=365))
    assert not serves(made, authority, Names(NAMES.hosts, (*NAMES.addresses, "10.0.0.7")), NOW)
    assert not serves(made, new_authority("barn", NOW), NAMES, NOW)
    assert not serves(made, authority, NAMES, NOW - timedelta(days=2)), "a clock that was set back"


def test_an_authority_serves_for_years_and_for_one_name() -> None:
    authority = new_authority("barn", NOW)
    assert vouches_for(authority, "barn", NOW + timedelta(days=8 * 365))
    assert not vouches_for(authority, "barn", NOW + timedelta(days=9.5 * 365))
    assert not vouches_for(authority, "mill", NOW)


def test_the_authority_that_others_trust_stays_while_its_certificate_is_renewed(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.keys.mkdir()
    lan = Lan(host="0.0.0.0", port=8443, given=False)
    renew(folder, lan, NOW)
    authority, first = folder.tls_authority.read_bytes(), folder.tls_certificate.read_bytes()
    renew(folder, lan, NOW + timedelta(days=1))
    assert folder.tls_certificate.read_bytes() == first
    renew(folder, lan, NOW + timedelta(days=365))
    assert folder.tls_certificate.read_bytes() != first
    assert folder.tls_authority.read_bytes() == authority
    assert {path.stat().st_mode & 0o777 for path in (folder.keys / "tls").iterdir()} == {0o600}
    assert (folder.keys / "tls").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("environment", "refused"),
    [
        ({"MONGARS_HTTP_HOST": "0.0.0.0"}, True),
        ({"MONGARS_HTTP_HOST": "barn"}, True),
        ({"MONGARS_HTTP_HOST": "127.0.0.1"}, False),
        ({"MONGARS_HTTP_HOST": "0.0.0.0", "MONGARS_TRUSTED_PROXIES": '["10.0.0.1"]'}, False),
        ({}, False),
    ],
)
def test_nobody_listens_on_the_network_without_tls(environment: dict[str, str], refused: bool) -> None:
    settings = CliSettings(Path("/state"), environment)
    network = Network(True, None, None, None, None)
    if not refused:
        network.require_sense(settings)
        return
    with pytest.raises(CommandError) as caught:
        network.require_sense(settings)
    assert caught.value.code is Exit.REFUSED
    assert "--lan" in caught.value.remedy


def test_its_other_options_need_lan() -> None:
    with pytest.raises(CommandError, match="are for --lan"):
        Network(None, "0.0.0.0", None, None, None).require_sense(CliSettings(Path("/state"), {}))


def test_the_addresses_that_others_type_are_told() -> None:
    assert addresses("0.0.0.0", 8443, NAMES) == ["https://barn.local:8443", "https://192.168.1.5:8443"]
    assert addresses("::1", 8443, NAMES) == ["https://[::1]:8443"]


def test_lan_is_kept_for_later_starts_until_it_is_ended(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.keys.mkdir()
    marker = Marker(
        format=1, installation_id="a", product_version="0.2.0", created_at=NOW, ports=Ports(http=8080, nats=4222)
    )
    installation = opened(write_marker(folder, marker), "127.0.0.2", None, None, port=9443)
    kept = find(folder)
    assert kept is not None
    assert kept.marker.lan == Lan(host="127.0.0.2", port=9443, given=False)
    again = opened(installation, None, None, None, port=None)
    assert again.marker.lan == kept.marker.lan
    assert closed(again).marker.lan is None
    ended = find(folder)
    assert ended is not None
    assert ended.marker.lan is None


def test_a_given_certificate_is_copied_and_refused_once_it_has_ended(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    folder.keys.mkdir(parents=True)
    marker = Marker(
        format=1, installation_id="a", product_version="0.2.0", created_at=NOW, ports=Ports(http=8080, nats=4222)
    )
    given = write(tmp_path, "given", new_certificate(new_authority("barn", NOW), NAMES, NOW))
    made = opened(write_marker(folder, marker), None, given, given.with_suffix(".key"), port=9443)
    assert made.marker.lan is not None
    given.unlink()
    renew(folder, made.marker.lan, NOW)
    with pytest.raises(CommandError, match="ended on"):
        renew(folder, made.marker.lan, NOW + timedelta(days=400))
    with pytest.raises(CommandError, match="can't be used"):
        opened(made, None, tmp_path / "nothing.pem", tmp_path / "nothing.key", port=None)
