"""The chain of steps: what is signed, and what is found when something was altered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import Change, ChangeState, Measured, Step
from services.persistence import steps
from services.persistence.ledger import new_entry
from services.persistence.steps import FIRST_HASH, Head, StepSigner

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SIGNER = StepSigner(b"1" * 32)
GAIN = Measured(measure="coverage", by="replay", before=0.5, after=0.625, low=0.1, high=0.15, samples=40)
LIFE = (ChangeState.PROPOSED, ChangeState.EVALUATED, ChangeState.CANARY, ChangeState.APPLIED, ChangeState.KEPT)


def entry(n: int, state: ChangeState) -> Change:
    proposed = Stamp(actor="optimizer", at=NOW)
    made = new_entry(
        change_id=f"c{n}",
        sequence=n,
        key="recall_k",
        before=n,
        after=n + 1,
        reason="",
        proposed=proposed,
        previous=FIRST_HASH,
    )
    return made.model_copy(update={"state": state})


def lives(lengths: Sequence[int]) -> tuple[list[Step], dict[str, Change]]:
    """Changes that live through so many states each, in turn."""
    changes = [entry(n, LIFE[length - 1]) for n, length in enumerate(lengths, 1)]
    chain: list[Step] = []
    for state in range(len(LIFE)):
        for change, length in zip(changes, lengths, strict=True):
            if state < length:
                head = Head(chain[-1].sequence, chain[-1].hash) if chain else Head(0, FIRST_HASH)
                at = NOW + timedelta(minutes=len(chain))
                step = SIGNER.step(head, change, LIFE[state], actor="optimizer", at=at, measured=(GAIN,))
                chain.append(step)
    return chain, {change.change_id: change for change in changes}


def broken(chain: Sequence[Step], changes: dict[str, Change], head: Step) -> int | None:
    return steps.broken_step(chain, changes, head=Head(head.sequence, head.hash), key=SIGNER.key)


@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_what_was_recorded_verifies(lengths: list[int]) -> None:
    chain, changes = lives(lengths)
    assert broken(chain, changes, chain[-1]) is None


ALTERATIONS = {
    "reason": "another",
    "actor": "nobody",
    "at": NOW + timedelta(days=1),
    "measured": (),
    "state": ChangeState.REJECTED,
    "change_id": "c9",
    "change_hash": "f" * 64,
    "previous_hash": "e" * 64,
    "hash": "d" * 64,
    "signature": SIGNER.sign("c" * 64),
}


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    where=st.integers(0, 19),
    field=st.sampled_from(sorted(ALTERATIONS)),
)
def test_whatever_is_altered_is_found_where_it_was_altered(lengths: list[int], where: int, field: str) -> None:
    chain, changes = lives(lengths)
    where %= len(chain)
    altered = list(chain)
    altered[where] = chain[where].model_copy(update={field: ALTERATIONS[field]})
    assert broken(altered, changes, chain[-1]) == where + 1


@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), where=st.integers(0, 19))
def test_a_step_that_is_left_out_is_found(lengths: list[int], where: int) -> None:
    chain, changes = lives(lengths)
    where %= len(chain)
    assert broken(chain[:where] + chain[where + 1 :], changes, chain[-1]) is not None


def rehashed(step: Step, **what: object) -> Step:
    """What somebody makes who may write into the database, and hasn't the installation's key."""
    altered = step.model_copy(update=what)
    return altered.model_copy(update={"hash": steps.step_hash(altered)})


def test_a_forged_last_step_fails_for_its_signature_alone() -> None:
    chain, changes = lives([3])
    forged = rehashed(chain[-1], reason="forged")
    assert broken([*chain[:-1], forged], changes, forged) == 3
    other = StepSigner(b"2" * 32)
    resigned = rehashed(chain[-1], key=other.key)
    resigned = resigned.model_copy(update={"signature": other.sign(resigned.hash)})
    assert broken([*chain[:-1], resigned], changes, resigned) == 3


def test_a_state_that_no_step_led_to_is_found() -> None:
    chain, changes = lives([3, 2])
    changes["c2"] = changes["c2"].model_copy(update={"state": ChangeState.APPLIED})
    assert broken(chain, changes, chain[-1]) == 4
    changes["c3"] = entry(3, ChangeState.APPLIED)
    assert broken(chain, changes, chain[-1]) == 0, "it has no step at all"


def test_without_the_signatures_check_a_forgery_would_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "signed_by", lambda step, key: True)
    with pytest.raises(AssertionError):
        test_a_forged_last_step_fails_for_its_signature_alone()


def test_without_the_links_check_a_missing_step_would_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    chain, changes = lives([2, 2])
    cut = [chain[0], chain[1], chain[3]]
    assert broken(cut, changes, chain[-1]) == 3
    monkeypatch.setattr(steps, "_follows", lambda previous, step: True)
    changes["c1"] = changes["c1"].model_copy(update={"state": ChangeState.PROPOSED})
    assert broken(cut, changes, chain[-1]) is None


def test_measures_come_back_from_the_database_as_they_were_hashed() -> None:
    odd = GAIN.model_copy(update={"low": -0.0, "before": 0.0})
    step = SIGNER.step(Head(0, FIRST_HASH), entry(1, LIFE[0]), LIFE[0], actor="a", at=NOW, measured=(odd,))
    assert step.hash == steps.step_hash(step)
    assert str(step.measured[0].low) == "0.0"
