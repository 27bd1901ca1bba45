"""What the keys may do, as computed: properties that hold for every key, whatever the contracts say."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.shared.bus.broker_config import largest_message_bytes, permissions_named, principals, render_config, users
from libs.shared.bus.permissions import Permissions, inbox_prefix, inference_node, joined_node, permissions_of
from libs.shared.contracts import CONTRACTS
from libs.shared.contracts.base import Event, Principal, Rpc, Stream

NAMES = principals(["node-a"])
READERS = ("operator", "ops")


@pytest.mark.parametrize("name", NAMES)
def test_no_key_may_do_everything(name: str) -> None:
    given = permissions_named(name)
    assert given.publish
    assert given.subscribe
    wide = {">", "*", "mongars.>", "mongars.v1.>", "$JS.>", "$JS.API.>", "_INBOX.>"}
    assert not wide & set(given.publish) - {"_INBOX.>"}
    assert not wide & set(given.subscribe) - ({"_INBOX.>"} if name in READERS else set())


@pytest.mark.parametrize("name", [n for n in NAMES if n != "setup"])
def test_only_the_start_up_key_makes_streams_and_consumers(name: str) -> None:
    verbs = ("CREATE", "UPDATE", "PURGE", "STREAM.DELETE", "CONSUMER.DELETE", "RESTORE", "SNAPSHOT")
    assert not [p for p in permissions_named(name).publish if p.startswith("$JS.API") and any(v in p for v in verbs)]


def test_only_persistence_erases_stored_messages() -> None:
    assert [n for n in NAMES if any("MSG.DELETE" in p for p in permissions_named(n).publish)] == ["persistence"]


@pytest.mark.parametrize("name", NAMES)
def test_replies_of_others_are_heard_by_nobody(name: str) -> None:
    inboxes = [s for s in permissions_named(name).subscribe if s.startswith("_INBOX")]
    own = "_INBOX_inference.node-a" if name.startswith("inference") else inbox_prefix(name)
    assert inboxes == [own + ".>"]


def test_a_served_subject_is_heard_in_its_queue_alone() -> None:
    served = {c.subject for c in CONTRACTS if isinstance(c, Rpc | Stream) and not c.parameters}
    for name in NAMES:
        assert not served & set(permissions_named(name).subscribe)


def test_an_inference_node_serves_its_own_subjects_alone() -> None:
    mine = inference_node("node-a").subscribe
    assert any("node-a-15" in s for s in mine)
    assert not [
        s for s in mine if "node-a-16" in s or ("*" in s.removesuffix(".parts.*").removesuffix(".*") and "SRV" not in s)
    ]
    with pytest.raises(ValueError, match="node"):
        permissions_of(Principal.INFERENCE)


def test_a_joined_machine_answers_for_itself_and_not_for_the_service() -> None:
    own, joined = inference_node("attic"), joined_node("attic")
    assert set(joined.publish) < set(own.publish)
    assert set(joined.subscribe) < set(own.subscribe)
    fewer = {*own.subscribe, *own.publish} - {*joined.subscribe, *joined.publish}
    assert {s.removesuffix(" q").removesuffix(".parts.*") for s in fewer} == {
        "mongars.v1.inference.health",
        "mongars.v1.inference.metrics",
        "mongars.v1.inference.replica_metrics.*",
        "_INBOX_cli.>",
        "$JS.API.DIRECT.GET.KV_settings.$KV.settings.>",
    }
    assert not [s for s in joined.publish if s.startswith("$")], "the broker would answer wherever such a node says"
    assert "mongars.v1.inference.generate.attic-0 q" in joined.subscribe


def test_a_contract_taken_away_takes_its_permissions_along() -> None:
    for contract in CONTRACTS:
        if contract.owner is Principal.SCHEDULER and isinstance(contract, Rpc):
            fewer = permissions_of(Principal.SCHEDULER, contracts=[c for c in CONTRACTS if c is not contract])
            assert f"{contract.subject} q" not in fewer.subscribe
            assert f"{contract.subject} q" in permissions_named("scheduler").subscribe


def test_the_configuration_denies_by_default_and_holds_the_largest_event() -> None:
    config = render_config(users=users(dict.fromkeys(NAMES, "UKEY")), store=Path("/tmp/js"), port=4222)
    assert config.count("allow: [") == 2 * len(NAMES)
    assert "sync_interval: always" in config
    assert 'listen: "127.0.0.1:4222"' in config
    assert largest_message_bytes() > max(c.max_bytes for c in CONTRACTS if isinstance(c, Event))


def test_a_key_that_may_do_nothing_is_not_given_everything() -> None:
    from libs.shared.bus.broker_config import User

    config = render_config(users=[User("none", "UKEY", Permissions((), ()))], store=Path("/tmp/js"), port=1)
    assert config.count('deny: [">"]') == 2


@pytest.mark.parametrize("forged", ['a"b', "a\nb"])
def test_a_path_cannot_write_configuration(forged: str) -> None:
    with pytest.raises(ValueError, match="quotes"):
        render_config(users=[], store=Path(forged), port=1)
