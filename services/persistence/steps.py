"""What happens to changes, as one chain of signed steps: its canonical form, signing a step, and what doesn't fit.

The canonical form is a step's JSON without its hash and signature, keys sorted at every level, no spaces, times in UTC,
in UTF-8. Whoever has PyNaCl checks one without us::

    nacl.signing.VerifyKey(base64.b64decode(key)).verify(bytes.fromhex(hash), base64.b64decode(signature))
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from libs.shared.artefacts.manifests import public_key
from libs.shared.contracts.ledger import Change, ChangeState, Measured, Step

STEP_KEY = b"mongars ledger"
"""The purpose for which the signing key is derived from the installation key."""
FIRST_HASH = "0" * 64
"""What stands before the first entry, and before the first step."""
BEFORE_STEPS = "recorded before steps were kept"


class Head(NamedTuple):
    """The end of the chain of steps."""

    sequence: int
    hash: str


class StepSigner:
    """Signs steps with the installation's key, which never leaves it."""

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)
        self.key = public_key(seed)
        """Base64; by it anybody can check what was signed."""

    def sign(self, digest: str) -> str:
        """Base64, over the bytes of a hexadecimal hash."""
        return base64.b64encode(self._key.sign(bytes.fromhex(digest)).signature).decode()

    def step(
        self,
        head: Head,
        change: Change,
        state: ChangeState,
        *,
        actor: str,
        at: datetime,
        reason: str = "",
        measured: tuple[Measured, ...] = (),
    ) -> Step:
        """The next step, chained to ``head`` and signed."""
        unsigned = Step(
            sequence=head.sequence + 1,
            change_id=change.change_id,
            change_hash=change.hash,
            state=state,
            at=at,
            actor=actor,
            reason=reason,
            measured=tuple(map(_without_signed_zeros, measured)),
            previous_hash=head.hash,
            hash=FIRST_HASH,
            key=self.key,
            signature="",
        )
        digest = step_hash(unsigned)
        return unsigned.model_copy(update={"hash": digest, "signature": self.sign(digest)})


def _without_signed_zeros(measured: Measured) -> Measured:
    """PostgreSQL's numbers know no −0.0, and what is hashed has to come back as it was."""
    values = {name: getattr(measured, name) + 0.0 for name in ("before", "after", "low", "high")}
    return measured.model_copy(update=values)


def step_hash(step: Step) -> str:
    """SHA-256 over the canonical JSON."""
    fields = step.model_dump(mode="json", exclude={"hash", "signature", "at"})
    fields["at"] = step.at.astimezone(UTC).isoformat()
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def signed_by(step: Step, key: str) -> bool:
    """Whether ``key`` signed the step's hash."""
    if step.key != key:
        return False
    try:
        VerifyKey(_decoded(key)).verify(bytes.fromhex(step.hash), _decoded(step.signature))
    except (CryptoError, ValueError, TypeError):
        return False
    return True


def broken_step(steps: Iterable[Step], changes: Mapping[str, Change], *, head: Head, key: str) -> int | None:
    """The sequence of the first step (oldest first) that doesn't fit: its place, the hash before it, its own hash and
    signature, the change that it is of, or, for a change's last one, the state of that change. None when all fit, and
    every change has one."""
    previous, last = Head(0, FIRST_HASH), dict[str, Step]()
    for step in steps:
        if not _follows(previous, step) or not signed_by(step, key) or not _is_of(step, changes):
            return previous.sequence + 1
        previous, last[step.change_id] = Head(step.sequence, step.hash), step
    if previous != head:
        return previous.sequence + 1
    stray = [found.sequence for change in changes.values() if (found := _stray(change, last)) is not None]
    return min(stray, default=None)


def _follows(previous: Head, step: Step) -> bool:
    fits = step.sequence == previous.sequence + 1 and step.previous_hash == previous.hash
    return fits and step.hash == step_hash(step)


def _is_of(step: Step, changes: Mapping[str, Change]) -> bool:
    change = changes.get(step.change_id)
    return change is not None and change.hash == step.change_hash


def _stray(change: Change, last: Mapping[str, Step]) -> Head | None:
    """Where a change isn't what its steps say: at the last of them, or before the first step where it has none."""
    step = last.get(change.change_id)
    if step is None:
        return Head(0, FIRST_HASH)
    return None if step.state is change.state else Head(step.sequence, step.hash)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
