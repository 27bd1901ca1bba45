"""Manifests: their canonical form, signing one, and telling why one is refused. Values in, values out.

The canonical form is the manifest's JSON, keys sorted at every level, no spaces, in UTF-8. Whoever has PyNaCl checks
one without us::

    nacl.signing.VerifyKey(base64.b64decode(key)).verify(body.encode(), base64.b64decode(signature))
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey
from pydantic import ValidationError

from libs.shared.contracts.adapters import FORMAT, ArtefactFile, BaseModelOf, Manifest, SignedManifest
from libs.shared.errors import (
    AdapterMismatched,
    ArtefactCorrupt,
    ArtefactForeign,
    ArtefactUnsigned,
    ArtefactVersion,
)


def canonical(manifest: Manifest) -> str:
    """What is signed."""
    told = manifest.model_dump(mode="json")
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def public_key(seed: bytes) -> str:
    """Base64, of the 32 bytes that only this installation has."""
    return base64.b64encode(bytes(SigningKey(seed).verify_key)).decode()


def sign(seed: bytes, manifest: Manifest) -> SignedManifest:
    """With the installation's key."""
    body = canonical(manifest)
    signature = SigningKey(seed).sign(body.encode()).signature
    return SignedManifest(body=body, key=public_key(seed), signature=base64.b64encode(signature).decode())


def verified(signed: SignedManifest, key: str) -> Manifest:
    """What it says, if ``key`` signed it.

    Raises ArtefactUnsigned, ArtefactForeign, ArtefactCorrupt, ArtefactVersion.
    """
    if not signed.key or not signed.signature:
        raise ArtefactUnsigned("the artefact is not signed: import it here with mongars models adapters import")
    if signed.key != key:
        raise ArtefactForeign(
            "another installation signed the artefact: whoever trusts it imports its folder here anew, with mongars "
            "models adapters import"
        )
    try:
        VerifyKey(_decoded(key)).verify(signed.body.encode(), _decoded(signed.signature))
    except (CryptoError, ValueError, TypeError):
        raise ArtefactCorrupt("the artefact's manifest is not what was signed: remove it, and import it anew") from None
    return _parsed(signed.body)


def check_base(manifest: Manifest, base: BaseModelOf) -> None:
    """``base``: the model as it is served here. Raises AdapterMismatched."""
    asked = manifest.base
    if asked.name != base.name:
        raise AdapterMismatched(f"{manifest.name} is for {asked.name}, and not for {base.name}")
    if _told_apart(asked.fingerprint, base.fingerprint):
        raise AdapterMismatched(
            f"{manifest.name} was made with other files of {asked.name} than are here: train it anew, or bring those"
        )


def _told_apart(one: str | None, other: str | None) -> bool:
    """Whether these fingerprints are of different files. A model's GGUF file and its Hugging Face folder, from which it
    was trained, say nothing of each other: then the shapes alone are compared, as where either isn't known."""
    if one is None or other is None or one.partition(":")[0] != other.partition(":")[0]:
        return False
    return one != other


def check_file(file: ArtefactFile, size: int, digest: hashlib._Hash) -> None:
    """What came, against what the manifest says of it. Raises ArtefactCorrupt."""
    if size != file.size or digest.hexdigest() != file.sha256:
        raise ArtefactCorrupt(f"{file.name} is not the file that was signed: remove the artefact, and import it anew")


def _parsed(body: str) -> Manifest:
    try:
        told = json.loads(body)
        if told.get("format") != FORMAT:
            raise ArtefactVersion("a newer release wrote the artefact's manifest: upgrade this one")
        return Manifest.model_validate_json(body)
    except (ValidationError, ValueError, AttributeError):
        raise ArtefactCorrupt("the artefact's manifest can't be read") from None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
