"""Receipts of what was forgotten: their canonical form, and checking their signature.

The canonical form is the receipt's JSON without ``signature`` and without fields that are null, keys sorted at every
level, no spaces, characters beyond ASCII as they are, in UTF-8. Whoever has PyNaCl checks one without us::

    r = json.load(open("receipt.json"))
    signature = base64.b64decode(r.pop("signature"))
    signed = json.dumps(r, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    nacl.signing.VerifyKey(base64.b64decode(r["key"])).verify(signed, signature)
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from libs.shared.contracts.forgetting import Receipt


def canonical(receipt: Mapping[str, Any]) -> bytes:
    """What is signed."""
    plain = {name: value for name, value in receipt.items() if name != "signature" and value is not None}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def verify(receipt: Receipt | Mapping[str, Any], key: str | None = None) -> bool:
    """Whether the receipt, as a model or as its JSON, says what was signed, by ``key`` (base64; None: by its own).

    Every receipt of an installation names the same key: compare it with an earlier one's.
    """
    told = receipt.model_dump(mode="json") if isinstance(receipt, Receipt) else receipt
    try:
        if key is not None and told["key"] != key:
            return False
        VerifyKey(_decoded(told["key"])).verify(canonical(told), _decoded(told["signature"]))
    except (CryptoError, KeyError, TypeError, ValueError):
        return False
    return True


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
