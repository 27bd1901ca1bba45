"""Codes, invitations, and who is let in by them."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli import broker
from cli.backups.making import folder_files
from cli.commands.joining import invited
from cli.errors import CommandError, Exit
from cli.installation import Entrance, Installation, Marker, Ports
from cli.joining import certificates, invitations, members
from cli.joining.asking import joined, split
from cli.joining.attempts import Attempts
from cli.joining.code import JoinCode, decoded, encoded, fingerprint_of
from cli.joining.enrolling import enrol
from cli.joining.inviting import reached_at
from cli.joining.protocol import Enrol, Refusal, Welcome
from cli.joining.strangers import Strangers, house
from cli.progress import Progress
from cli.start import say_who_is_kept_out
from cli.upgrade.aside import Aside
from libs.shared.bus.nkey_files import is_public_key, new_seed, public_key
from libs.shared.layout import StateFolder

NOW = 1_800_000_000.0
CODE = JoinCode(addresses=("192.168.1.5:7422",), fingerprint="ab" * 32, invitation="0" * 16, secret="s")


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path)
    made.keys.mkdir()
    return made


def asked(opened: invitations.Invitation, **changed: str) -> Enrol:
    made = {"invitation": opened.name, "secret": opened.secret, "version": "1"}
    fields = {"node_id": "pi-4", "public_key": public_key(new_seed())}
    return Enrol.model_validate({**made, **fields, **changed})


def let_in(folder: StateFolder, question: Enrol, *, now: float = NOW, own: tuple[str, ...] = ()) -> Welcome | Refusal:
    return enrol(folder, question, now=now, version="1", own_node="desk", own_keys=own, admit=lambda: None)


def refused(answer: Welcome | Refusal) -> str:
    assert isinstance(answer, Refusal)
    return answer.refused


def test_a_code_comes_back_as_it_was_also_from_a_broken_line() -> None:
    text = encoded(CODE)
    assert decoded(f"  {text[:40]}\n{text[40:]} ") == CODE


@pytest.mark.parametrize("spoilt", [encoded(CODE)[:-3], encoded(CODE)[:-1] + "!", "mongars1-", "hello", ""])
def test_a_part_of_a_code_is_no_code(spoilt: str) -> None:
    with pytest.raises(ValueError, match=r"missing|begin"):
        decoded(spoilt)


def test_an_invitation_lets_one_machine_in_and_no_second(folder: StateFolder) -> None:
    made = invitations.make(folder, NOW)
    assert let_in(folder, asked(made)) == Welcome(node_id="pi-4")
    assert refused(let_in(folder, asked(made, node_id="pi-5"))) == "invitation"
    assert [member.node_id for member in members.read(folder)] == ["pi-4"]


def test_of_many_at_the_same_moment_one_gets_in(folder: StateFolder) -> None:
    made = invitations.make(folder, NOW)
    questions = [asked(made, node_id=f"pi-{number}") for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda question: let_in(folder, question), questions))
    assert sum(isinstance(answer, Welcome) for answer in answers) == 1
    assert len(members.read(folder)) == 1


def test_a_machine_that_the_broker_was_not_told_of_has_not_joined(folder: StateFolder) -> None:
    question = asked(invitations.make(folder, NOW))

    def full_disk() -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        enrol(folder, question, now=NOW, version="1", own_node="desk", own_keys=(), admit=full_disk)
    assert members.read(folder) == ()
    again = asked(invitations.make(folder, NOW), public_key=question.public_key)
    assert refused(let_in(folder, again)) == "key", "the broker may have heard of it all the same"
    assert let_in(folder, asked(invitations.make(folder, NOW))) == Welcome(node_id="pi-4")


def test_an_invitation_is_over_after_a_quarter_of_an_hour(folder: StateFolder) -> None:
    made = invitations.make(folder, NOW)
    assert refused(let_in(folder, asked(made), now=NOW + 900)) == "invitation"
    assert let_in(folder, asked(made), now=NOW + 899) == Welcome(node_id="pi-4")


def test_a_clock_that_was_ahead_makes_no_invitation_that_lasts(folder: StateFolder) -> None:
    made = invitations.make(folder, NOW)
    for now, is_open in ((NOW - 59, True), (NOW - 3600, False)):
        assert invitations.is_open(folder, made.name, made.secret, now) is is_open
        assert invitations.any_open(folder, now) is is_open


def test_a_list_of_machines_that_cannot_be_read_keeps_them_out_and_nothing_else(
    folder: StateFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    question = asked(invitations.make(folder, NOW))
    let_in(folder, question)
    folder.joined_nodes.write_text(folder.joined_nodes.read_text()[:-9])
    ports = Ports(http=1, nats=2)
    marker = Marker(format=1, installation_id="i", product_version="1", created_at=datetime.now(UTC), ports=ports)
    (folder.keys / "nats").mkdir()
    broker.write_configuration(Installation(folder, marker), "desk")
    assert question.public_key not in broker.configuration(folder).read_text()
    say_who_is_kept_out(Installation(folder, marker), "desk", Progress())
    assert f"{folder.joined_nodes} can't be read; remove it" in "".join(capsys.readouterr())


def test_a_wrong_secret_uses_nothing_up(folder: StateFolder) -> None:
    made = invitations.make(folder, NOW)
    assert refused(let_in(folder, asked(made, secret="guessed"))) == "invitation"
    assert refused(let_in(folder, asked(made, invitation="../keys"))) == "invitation"
    assert let_in(folder, asked(made)) == Welcome(node_id="pi-4")


def test_no_secret_lies_in_the_state_folder(folder: StateFolder) -> None:
    made = invitations.make(folder, NOW)
    written = [path.read_bytes() for path in folder.root.rglob("*") if path.is_file()]
    assert written
    assert all(made.secret.encode() not in content for content in written)


def test_old_invitations_are_swept_out_by_the_next(folder: StateFolder) -> None:
    invitations.make(folder, NOW)
    kept = invitations.make(folder, NOW + 1000)
    assert [path.stem for path in folder.invitations.iterdir()] == [kept.name]


def test_another_version_is_told_and_may_come_again_with_the_right_one(folder: StateFolder) -> None:
    made = invitations.make(folder, NOW)
    answer = let_in(folder, asked(made, version="0.9"))
    assert refused(answer) == "version"
    assert isinstance(answer, Refusal)
    assert "0.9" in answer.detail
    assert let_in(folder, asked(made)) == Welcome(node_id="pi-4")


@pytest.mark.parametrize("name", ["desk", "Pi", "", "a" * 61, "a.b", "a>", "a\n"])
def test_a_name_that_is_taken_or_unfit_is_refused(folder: StateFolder, name: str) -> None:
    made = invitations.make(folder, NOW)
    assert refused(let_in(folder, asked(made, node_id=name))) == "name"


def test_a_key_that_is_known_or_would_break_the_brokers_file_is_refused(folder: StateFolder) -> None:
    api = public_key(new_seed())
    whole = public_key(new_seed())
    spoilt = whole[:-1] + ("B" if whole.endswith("A") else "A")
    for key in (api, "U", "", new_seed(), f"{whole}\n}}", spoilt):
        made = invitations.make(folder, NOW)
        assert refused(let_in(folder, asked(made, public_key=key), own=(api,))) == "key"


def test_a_backup_lets_nobody_in_who_was_removed_after_it(folder: StateFolder) -> None:
    made = invitations.make(folder, NOW)
    let_in(folder, asked(made))
    invitations.make(folder, NOW)
    certificates.renew(folder)
    kept = {name for name, _ in folder_files(folder)}
    assert "keys/tls/nodes-authority.pem" in kept, "the machines' code still names the same authority"
    assert not {name for name in kept if "joined" in name or "joining" in name or "invitation" in name}


def test_the_way_back_from_an_upgrade_lets_nobody_in_who_was_removed_meanwhile(folder: StateFolder) -> None:
    let_in(folder, asked(invitations.make(folder, NOW)))
    folder.marker.write_text("{}")
    aside = Aside(folder)
    aside.make()
    with members.changing(folder):
        members.remove(folder, "pi-4", datetime.fromtimestamp(NOW, UTC))
    aside.restore()
    assert folder.marker.read_text() == "{}"
    assert members.read(folder) == ()


def test_a_machine_with_the_name_that_this_one_has_now_is_kept_out(folder: StateFolder) -> None:
    question = asked(invitations.make(folder, NOW))
    let_in(folder, question)
    ports = Ports(http=1, nats=2)
    marker = Marker(format=1, installation_id="i", product_version="1", created_at=datetime.now(UTC), ports=ports)
    for name, inside in (("desk", True), ("pi-4", False)):
        (folder.keys / "nats").mkdir(exist_ok=True)
        broker.write_configuration(Installation(folder, marker), name)
        assert (question.public_key in broker.configuration(folder).read_text()) is inside
        assert broker.own_node(folder) == name


def test_the_lock_is_for_its_owner_alone(folder: StateFolder) -> None:
    lock = folder.keys / ".joining.lock"
    lock.touch(mode=0o644)
    with members.changing(folder):
        assert lock.stat().st_mode & 0o777 == 0o600


def test_a_public_key_is_told_from_anything_else() -> None:
    key = public_key(new_seed())
    other_kind = base64.b32encode(b"\x00" * 35).decode()
    assert is_public_key(key)
    assert not any(is_public_key(text) for text in (key.lower(), key[:-8], key + "A", other_kind, "é" * 56))


def test_failures_of_one_address_make_it_wait_and_nobody_else() -> None:
    attempts = Attempts(most=3, within_s=60)
    for second in range(3):
        assert attempts.wait_s("a", float(second)) == 0
        attempts.failed("a", float(second))
    assert attempts.wait_s("a", 10.0) == 50
    assert attempts.wait_s("b", 10.0) == 0
    assert attempts.wait_s("a", 60.0) == 0


def test_of_one_address_there_are_few_strangers_and_the_slowest_of_all_make_room() -> None:
    strangers: Strangers[str] = Strangers(most=3, most_of_one=2)
    assert [strangers.come(guest, "10.0.0.1") for guest in "ab"] == [None, None]
    assert not strangers.has_room("10.0.0.1")
    assert not strangers.has_room("::ffff:10.0.0.1")
    assert strangers.has_room("10.0.0.2")
    assert strangers.come("c", "10.0.0.2") is None
    assert strangers.come("d", "10.0.0.3") == "a"
    assert strangers.has_room("10.0.0.1")
    for guest in ("a", "b", "b", "c", "d"):
        strangers.leave(guest)
    assert len(strangers) == 0


def test_a_whole_house_of_ipv6_is_one_address() -> None:
    assert house("fd00::1") == house("fd00::ffff:2") != house("fd00:0:0:1::1")
    assert house("fe80::1%eth0") == house("fe80::2")
    assert house("10.0.0.1") != house("10.0.0.2")


def test_invitations_are_counted_as_long_as_somebody_may_come_with_them(folder: StateFolder) -> None:
    assert not invitations.any_open(folder, NOW)
    invitations.make(folder, NOW)
    assert (invitations.any_open(folder, NOW + 899), invitations.any_open(folder, NOW + 900)) == (True, False)
    used = invitations.make(folder, NOW)
    invitations.withdraw_all(folder)
    assert not invitations.any_open(folder, NOW)
    assert refused(let_in(folder, asked(used))) == "invitation"


def test_the_authority_stays_while_the_certificate_is_renewed(folder: StateFolder) -> None:
    begun = datetime.now(UTC)
    assert certificates.renew(folder, begun)
    pinned = fingerprint_of(folder.nodes_authority.read_text())
    assert not certificates.renew(folder, begun + timedelta(days=300))
    assert certificates.renew(folder, begun + timedelta(days=370))
    assert fingerprint_of(folder.nodes_authority.read_text()) == pinned


def test_the_addresses_in_a_code_are_those_that_others_can_reach() -> None:
    everywhere = Entrance(host="0.0.0.0", port=7422)
    found = reached_at(
        everywhere, ("127.0.0.1", "::1", "fe80::1", "169.254.7.1", "192.168.1.5", "fd00::5"), "Desk.home"
    )
    assert found == ("192.168.1.5:7422", "desk.local:7422")
    both = reached_at(Entrance(host="::", port=7422), ("fd00::5", "192.168.1.5"), "desk")
    assert both == ("192.168.1.5:7422", "[fd00::5]:7422", "desk.local:7422")
    assert reached_at(Entrance(host="10.0.0.7", port=1), ("192.168.1.5",), "desk") == ("10.0.0.7:1",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pi", ("pi", 7422)),
        ("10.0.0.7:9", ("10.0.0.7", 9)),
        ("[fd00::5]:9", ("fd00::5", 9)),
        ("fd00::5", ("fd00::5", 7422)),
    ],
)
def test_addresses_are_read_as_people_write_them(text: str, expected: tuple[str, int]) -> None:
    assert split(text) == expected
    assert split(joined(*expected)) == expected


def test_an_address_beside_a_code_is_tried_first_and_has_its_port() -> None:
    assert invited(encoded(CODE), "desk").addresses == ("desk:7422", "192.168.1.5:7422")
    assert invited(encoded(CODE), None) == CODE
    with pytest.raises(CommandError) as refused_one:
        invited(encoded(CODE), "tls://desk")
    assert refused_one.value.code == Exit.USAGE


@pytest.mark.parametrize("text", ["", "pi:", "pi:x", "pi:0", ":7422", "pi:70000"])
def test_what_is_no_address_is_said_so(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are for people
        split(text)
