"""Manifests: signed, verified, and each fault refused by its own name; folders and models' fingerprints."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey, VerifyKey

from libs.shared.artefacts import manifests
from libs.shared.artefacts.folders import files_of, fingerprint, named_base
from libs.shared.artefacts.manifests import canonical, check_base, check_file, public_key, sign, verified
from libs.shared.contracts.adapters import ArtefactFile, BaseModelOf, Manifest, SignedManifest
from libs.shared.errors import (
    AdapterMismatched,
    ArtefactCorrupt,
    ArtefactForeign,
    ArtefactUnsigned,
    ArtefactVersion,
    InvalidRequest,
    ServiceError,
)

SEED, OTHER = b"s" * 32, b"o" * 32
KEY = public_key(SEED)
BASE = BaseModelOf(name="tiny", fingerprint="safetensors:1")
MANIFEST = Manifest(
    name="ada",
    base=BASE,
    files=(ArtefactFile(name="adapter_model.safetensors", size=3, sha256=hashlib.sha256(b"abc").hexdigest()),),
    metrics={"perplexity": 11.5, "name": "é"},
    created=datetime(2026, 11, 30, 17, tzinfo=UTC),
    owners=("u1",),
)


def test_what_was_signed_comes_back_and_pynacl_alone_can_check_it() -> None:
    signed = sign(SEED, MANIFEST)
    assert verified(signed, KEY) == MANIFEST
    VerifyKey(base64.b64decode(KEY)).verify(signed.body.encode(), base64.b64decode(signed.signature))
    assert json.loads(signed.body)["metrics"]["name"] == "é"
    assert canonical(MANIFEST) == signed.body


def _signed(told: dict[str, Any]) -> SignedManifest:
    body = json.dumps(told)
    signature = SigningKey(SEED).sign(body.encode()).signature
    return SignedManifest(body=body, key=KEY, signature=base64.b64encode(signature).decode())


FAULTS: dict[str, tuple[Callable[[SignedManifest], SignedManifest], type[ServiceError]]] = {
    "unsigned": (lambda s: s.model_copy(update={"signature": "", "key": ""}), ArtefactUnsigned),
    "altered": (lambda s: s.model_copy(update={"body": s.body.replace("u1", "u2")}), ArtefactCorrupt),
    "no signature at all": (lambda s: s.model_copy(update={"signature": "é"}), ArtefactCorrupt),
    "of another installation": (lambda _: sign(OTHER, MANIFEST), ArtefactForeign),
    "under our key's name": (lambda _: sign(OTHER, MANIFEST).model_copy(update={"key": KEY}), ArtefactCorrupt),
    "newer": (lambda s: _signed({**json.loads(s.body), "format": 2}), ArtefactVersion),
    "signed nonsense": (lambda _: _signed({"format": 1}), ArtefactCorrupt),
}


def check_every_fault_is_refused() -> None:
    for fault, (make, error) in FAULTS.items():
        with pytest.raises(error) as refused:
            verified(make(sign(SEED, MANIFEST)), KEY)
        assert ":" in refused.value.detail or "can't be read" in refused.value.detail, f"{fault} has no remedy"


def test_every_fault_is_refused_by_its_own_name() -> None:
    check_every_fault_is_refused()


def test_the_check_notices_a_verification_that_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trusting:
        def __init__(self, key: bytes) -> None: ...

        def verify(self, body: bytes, signature: bytes) -> None: ...

    monkeypatch.setattr(manifests, "VerifyKey", Trusting)
    with pytest.raises(pytest.fail.Exception):
        check_every_fault_is_refused()


@pytest.mark.parametrize(
    "here", [BASE.model_copy(update={"name": "other"}), BASE.model_copy(update={"fingerprint": "safetensors:2"})]
)
def test_one_of_another_model_or_of_other_files_is_refused(here: BaseModelOf) -> None:
    check_base(MANIFEST, BASE)
    check_base(MANIFEST, BASE.model_copy(update={"fingerprint": None}))
    with pytest.raises(AdapterMismatched):
        check_base(MANIFEST, here)


@pytest.mark.parametrize("body", [b"abd", b"ab", b"abcd"])
def test_a_file_that_is_another_is_refused(body: bytes) -> None:
    check_file(MANIFEST.files[0], 3, hashlib.sha256(b"abc"))
    with pytest.raises(ArtefactCorrupt):
        check_file(MANIFEST.files[0], len(body), hashlib.sha256(body))


def test_a_folder_is_described_by_its_files_and_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        files_of(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"abc")
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/somewhere/tiny"}')
    (tmp_path / "adapter.json").write_text('{"base": "small"}')
    (tmp_path / ".hidden").touch()
    files = files_of(tmp_path)
    assert [file.name for file in files] == ["adapter_config.json", "adapter_model.safetensors"]
    assert files[1] == MANIFEST.files[0]
    assert named_base(tmp_path) == "small"
    (tmp_path / "adapter.json").unlink()
    assert named_base(tmp_path) == "tiny"
    (tmp_path / "more").symlink_to("/etc/passwd")
    with pytest.raises(InvalidRequest):
        files_of(tmp_path)


def test_a_model_of_other_weights_has_another_fingerprint_and_a_copy_the_same(tmp_path: Path) -> None:
    def model(name: str, weights: bytes) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(weights)
        return tmp_path / name

    large = bytes(5 * 2**20)
    one = fingerprint(model("one", large))
    assert one is not None
    assert fingerprint(model("copy", large)) == one
    for at in (0, len(large) // 2, len(large) - 1):
        assert fingerprint(model(f"other-{at}", large[:at] + b"1" + large[at + 1 :])) != one
    assert fingerprint(tmp_path) is None
    assert fingerprint(tmp_path / "one" / "model.safetensors") not in (None, one)
