"""What an adapter's run will need is told before it begins, near to what it takes, and with what would fit."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from libs.shared.contracts.training import AdapterOptions
from libs.shared.errors import ModelDoesNotFit
from services.trainer.estimate import MIB, Shape
from services.trainer.estimate_adapter import (
    EVALUATED_AT_ONCE,
    LEAST_ROW_TOKENS,
    TEMPLATE_TOKENS,
    adapter_bytes,
    longest_tokens,
    refuse_adapter_that_does_not_fit,
    what_would_fit,
)
from tests.support.exchanges import exchange

SMALL = Shape(weights=100_000_000, layers=12, width=768, inner=2048, queries=768, keys=768, vocabulary=32000)
ROOT = Path(__file__).parents[3]


def test_the_longest_row_is_reckoned_by_its_bytes_and_by_what_is_left_out() -> None:
    short, long = (exchange("c", "t", question="où", answer="x" * count) for count in (10, 400))
    assert longest_tokens([short, long], 1024) == 3 + 400 + TEMPLATE_TOKENS
    assert longest_tokens([short, long], 128) == 128
    assert longest_tokens([], 1024) == LEAST_ROW_TOKENS


def test_what_fits_is_not_refused() -> None:
    refuse_adapter_that_does_not_fit(SMALL, AdapterOptions(), 1024, adapter_bytes(SMALL, 16, 1024))


@pytest.mark.parametrize("rank", [16, 256])
@pytest.mark.parametrize("spare_mib", [10, 100, 300, 600])
def test_what_is_said_to_fit_does(spare_mib: int, rank: int) -> None:
    free = SMALL.resident_with(16) + spare_mib * MIB
    with pytest.raises(ModelDoesNotFit) as refused:
        refuse_adapter_that_does_not_fit(SMALL, AdapterOptions(rank=rank), 8192, free)
    assert refused.value.data["available_mib"] == round(free / MIB)
    words = what_would_fit(SMALL, AdapterOptions(rank=rank), 8192, free)
    said = {name: int(value) for name, value in re.findall(r"(row_tokens|rank) (\d+)", words)}
    assert said, words
    fitting = AdapterOptions(rank=said.get("rank", rank))
    refuse_adapter_that_does_not_fit(SMALL, fitting, said.get("row_tokens", 8192), free)


def test_where_nothing_would_do_the_size_of_a_model_that_would_is_told() -> None:
    with pytest.raises(ModelDoesNotFit, match="a model of at most 25 million weights would fit, and this one has 100"):
        refuse_adapter_that_does_not_fit(SMALL, AdapterOptions(), 1024, 600 * MIB)


def test_vocabulary_rank_and_rows_each_count() -> None:
    before = adapter_bytes(SMALL, 16, 512)
    assert adapter_bytes(SMALL, 64, 512) > before
    assert adapter_bytes(SMALL, 16, 1024) > before
    assert adapter_bytes(SMALL, 16, 512, rows=32, twice=False) > before
    wordy = Shape(100_000_000, layers=12, width=768, inner=2048, queries=768, keys=768, vocabulary=128_000)
    assert adapter_bytes(wordy, 16, 512) - before == pytest.approx(8 * 512 * 2 * 4 * 96_000, rel=0.01)


@pytest.mark.torch
def test_it_reckons_with_as_many_rows_as_are_evaluated_at_once() -> None:
    from services.trainer.evaluation.measuring import compare_perplexity

    assert inspect.signature(compare_perplexity).parameters["batch"].default == EVALUATED_AT_ONCE


MEASURED = """
import resource, sys
from pathlib import Path
import torch
from services.trainer import sft
from services.trainer.chat import Row
from services.trainer.configuration import Lora, Sft
from tests.support.decoders import decoder

torch.set_num_threads(1)
model = decoder("llama", vocab_size=16000, hidden_size=384, intermediate_size=1024, num_hidden_layers=6,
                num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=512)
torch.set_num_threads(1)
rows = [Row(tuple((at * 31 + token) % 16000 for token in range(256)), 4) for at in range(8)]
rows_at_once, twice = int(sys.argv[2]), sys.argv[3] == "twice"
config = Sft(batch=8, micro_batch=rows_at_once, gradient_checkpointing=twice, steps=2, lora=Lora(rank=16, alpha=32))
sft.train(config, model, rows, Path(sys.argv[1]))
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.soak
@pytest.mark.torch
@pytest.mark.parametrize(("rows", "way"), [(1, "twice"), (8, "once"), (8, "twice")])
def test_the_estimate_is_near_what_a_run_took_at_its_peak(rows: int, way: str, tmp_path: Path) -> None:
    ran: Any = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "run"), str(rows), way],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=280,
    )  # fmt: skip
    peak = int(ran.stdout.split()[-1])
    weights = 2 * 16000 * 384 + 6 * 384 * (4 * 384 + 3 * 1024)
    shape = Shape(weights, layers=6, width=384, inner=1024, queries=384, keys=384, vocabulary=16000)
    estimated = adapter_bytes(shape, 16, 256, rows=rows, twice=way == "twice")
    print(f"\n{rows} rows, {way}: {estimated / MIB:.0f} MiB reckoned, {peak / MIB:.0f} MiB at the peak")
    assert 0.8 < estimated / peak < 1.6
