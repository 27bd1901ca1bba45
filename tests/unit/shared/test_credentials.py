"""Keys and passwords: random, kept only as hashes, and of the forms that others recognise."""

from __future__ import annotations

import hashlib
import re

from libs.shared.credentials import hash_password, hash_secret, new_api_key, new_password, verify_password


def test_a_key_is_256_random_bits_behind_its_mark() -> None:
    made = [new_api_key() for _ in range(50)]
    assert all(re.fullmatch(r"mgk_[A-Za-z0-9_-]{43}", key.secret) for key in made)
    assert len({key.secret for key in made}) == len(made)


def test_a_key_is_known_by_its_first_characters_and_its_sha_256() -> None:
    key = new_api_key()
    assert key.prefix == key.secret[:12]
    assert key.hash == hashlib.sha256(key.secret.encode()).hexdigest() == hash_secret(key.secret)


def test_a_one_time_password_reads_aloud_without_doubt() -> None:
    made = {new_password() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"([a-hj-km-np-z2-9]{5}-){3}[a-hj-km-np-z2-9]{5}", password) for password in made)


def test_a_password_is_kept_as_argon2id_of_19_mib_and_verified_by_it_alone() -> None:
    kept = hash_password("right")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_password(kept, "right")
    assert not verify_password(kept, "wrong")
    assert kept != hash_password("right")


def test_what_is_no_hash_verifies_nothing() -> None:
    assert not verify_password("", "")
    assert not verify_password("right", "right")
