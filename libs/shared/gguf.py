"""Reads a GGUF file's header: enough to know what the model is and needs, without loading it.

The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from libs.shared.errors import ModelBroken

MAX_ENTRIES = 100_000
MAX_STRING = 64 * 1024 * 1024
MAX_ARRAY = 16 * 1024 * 1024
KEPT_ARRAY = 1024
"""Longer arrays (vocabularies) are read past; only their length is kept."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
MAX_DIMENSIONS = 8
_BLOCKS = {
    **{0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 30: (1, 2)},
    **{10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292)},
}
"""Tensor type → elements of a block, and its bytes."""
WEIGHTS = frozenset(_BLOCKS)
"""Types that can be multiplied with; integers and doubles can't, and llama.cpp ends on them."""


@dataclass(frozen=True)
class Header:
    """A model's own description. ``metadata`` holds scalars, strings and short arrays."""

    metadata: dict[str, Any]
    tensors: int

    def number(self, key: str, default: int = 0) -> int:
        """An integer of the model's architecture, such as ``block_count``; the largest of one that is per layer."""
        value = self.metadata.get(f"{self.metadata['general.architecture']}.{key}", default)
        return int(max(value) if isinstance(value, list) else value)

    @property
    def context_tokens(self) -> int:
        return self.number("context_length", 2048)

    @property
    def chat_template(self) -> str:
        return str(self.metadata.get("tokenizer.chat_template", ""))


def read_header(path: Path) -> Header:
    """Raises ModelBroken, saying what is wrong."""
    try:
        with path.open("rb") as file:
            header = _read(file)
    except OSError as error:
        raise ModelBroken(f"{path.name} can't be read: {error.strerror}") from error
    except (struct.error, UnicodeDecodeError, EOFError, OverflowError) as error:
        raise ModelBroken(f"{path.name} ends early or is damaged") from error
    if "general.architecture" not in header.metadata or not header.tensors:
        raise ModelBroken(f"{path.name} holds no model")
    return header


@dataclass(frozen=True)
class Tensors:
    """What a file says of its tensors."""

    end: int
    """Bytes that a file which isn't cut short has at least; of a tensor of unknown type only the beginning counts."""
    kinds: frozenset[int]
    """Their types, by ggml's numbers."""


def read_tensors(path: Path) -> Tensors:
    """Reads no weights. Raises ModelBroken."""
    try:
        with path.open("rb") as file:
            header = _read(file)
            found = [_tensor(file) for _ in range(header.tensors)]
            alignment = int(header.metadata.get("general.alignment", 32)) or 32
            begin = -(-file.tell() // alignment) * alignment
    except OSError as error:
        raise ModelBroken(f"{path.name} can't be read: {error.strerror}") from error
    except (struct.error, UnicodeDecodeError, EOFError, OverflowError, ValueError, TypeError) as error:
        raise ModelBroken(f"{path.name} ends early or is damaged") from error
    return Tensors(begin + max((end for _, end in found), default=0), frozenset(kind for kind, _ in found))


def expected_bytes(path: Path) -> int:
    """How long the file has to be to hold its last tensor: one that was cut short is shorter. Raises ModelBroken."""
    return read_tensors(path).end


def _tensor(file: BinaryIO) -> tuple[int, int]:
    """Its type, and where it ends from the beginning of the tensors' data, in bytes."""
    _string(file)
    (dimensions,) = struct.unpack("<I", file.read(4))
    if dimensions > MAX_DIMENSIONS:
        raise EOFError
    elements = math.prod(struct.unpack(f"<{dimensions}Q", file.read(8 * dimensions)))
    kind, offset = struct.unpack("<IQ", file.read(12))
    block, size = _BLOCKS.get(kind, (1, 0))
    return kind, int(offset + max(1, -(-elements // block) * size))


def parts(path: Path) -> list[Path]:
    """The file, or all the parts of a split one."""
    split = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})", path.stem)
    if not split:
        return [path]
    return sorted(path.parent.glob(f"{split[1]}-*-of-{split[2]}.gguf"))


def _read(file: BinaryIO) -> Header:
    magic, version = struct.unpack("<4sI", file.read(8))
    if magic != b"GGUF" or version not in (2, 3):
        raise ModelBroken("not a GGUF file of version 2 or 3")
    tensors, entries = struct.unpack("<QQ", file.read(16))
    if entries > MAX_ENTRIES or tensors > MAX_ENTRIES:
        raise EOFError
    metadata: dict[str, Any] = {}
    for _ in range(entries):
        key = _string(file)
        metadata[key] = _value(file, *struct.unpack("<I", file.read(4)))
    return Header(metadata, tensors)


def _string(file: BinaryIO) -> str:
    return _bytes(file).decode("utf-8", errors="replace")


def _bytes(file: BinaryIO) -> bytes:
    (size,) = struct.unpack("<Q", file.read(8))
    if size > MAX_STRING:
        raise EOFError
    data = file.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        return _array(file)
    if kind not in _SCALARS:
        raise EOFError
    layout = "<" + _SCALARS[kind]
    return struct.unpack(layout, file.read(struct.calcsize(layout)))[0]


def _array(file: BinaryIO) -> Any:
    kind, count = struct.unpack("<IQ", file.read(12))
    if count > MAX_ARRAY or (kind not in _SCALARS and kind != _STRING):
        raise EOFError
    if count > KEPT_ARRAY:
        return _skip(file, kind, count)
    read: Callable[[BinaryIO], Any] = _string if kind == _STRING else lambda source: _value(source, kind)
    return [read(file) for _ in range(count)]


def _skip(file: BinaryIO, kind: int, count: int) -> int:
    if kind == _STRING:
        for _ in range(count):
            _bytes(file)
    else:
        file.seek(struct.calcsize("<" + _SCALARS[kind]) * count, 1)
    return count
