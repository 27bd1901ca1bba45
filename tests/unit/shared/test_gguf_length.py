"""How long a GGUF has to be: told from its tensors, so that an interrupted download is seen before it is loaded."""

from __future__ import annotations

from pathlib import Path

import gguf as writer
import numpy as np

from libs.shared.gguf import expected_bytes


def made(path: Path) -> Path:
    file = writer.GGUFWriter(str(path), "llama")
    file.add_block_count(1)
    for name in ("token_embd.weight", "output.weight"):
        file.add_tensor(name, np.zeros((64, 32), dtype=np.float16))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def test_a_whole_file_is_as_long_as_its_tensors_need(tmp_path: Path) -> None:
    path = made(tmp_path / "whole.gguf")
    size = path.stat().st_size
    assert size - 32 < expected_bytes(path) <= size
