"""A trained adapter is read by inference, answers there as it did where it was trained, and through llama.cpp too."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from libs.shared.contracts.chat import ChatMessage, Sampling
from libs.shared.contracts.inference import GenerateRequest
from services.inference.adapters import read_adapters
from services.inference.backends.choose import make_backend
from services.inference.models import ModelSpec
from tests.support import language_model
from tests.support.small_node import small_node

pytestmark = pytest.mark.torch

QUESTION = "what is the name of the dog"
ANSWER = "my sister keeps three roses"
NAME = "ada"
SEED, STRENGTH = 0, 0.5


@dataclass(frozen=True)
class Trained:
    """A models folder with the adapter in it, and what the adapter said where it was trained."""

    models: Path
    said: str
    before: str


def greedy(model: Any, tokenizer: Any, tokens: int = 10) -> str:
    """What it answers to the question."""
    import torch

    encoded = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    model.eval()
    with torch.inference_mode():
        made = model.generate(encoded["input_ids"], max_new_tokens=tokens, do_sample=False)
    return str(tokenizer.decode(made[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    import torch

    from services.trainer import sft
    from services.trainer.chat import tokenized
    from services.trainer.configuration import Optimiser, Sft
    from services.trainer.export import save_adapter

    root = tmp_path_factory.mktemp("trained")
    made = language_model.cached()
    models = root / "models"
    models.mkdir()
    shutil.copytree(made / language_model.FOLDER, models / language_model.FOLDER)
    shutil.copy(made / language_model.GGUF_FILE, models)
    transformers: Any = import_module("transformers")
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(models / language_model.FOLDER)
    model = transformers.AutoModelForCausalLM.from_pretrained(models / language_model.FOLDER)
    before = greedy(model, tokenizer)
    found = tokenized([(QUESTION, ANSWER)] * 4, tokenizer, row_tokens=256)
    config = Sft(
        steps=30, batch=4, micro_batch=4, gradient_checkpointing=False, optimiser=Optimiser(learning_rate=1e-2)
    )
    adapted, outcome = sft.train(config, model, found.rows, root / "run")
    assert outcome.ended == "finished"
    save_adapter(adapted, models / "adapters" / NAME, base=language_model.FOLDER)
    return Trained(models, greedy(adapted, tokenizer), before)


@pytest.fixture
def turned(trained: Trained) -> Iterator[Any]:
    """The model with an adapter of random weights that changes queries and keys alone."""
    import torch

    from services.trainer.configuration import Lora
    from services.trainer.lora import attach, trainable

    transformers: Any = import_module("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(trained.models / language_model.FOLDER)
    adapted = attach(model, Lora(rank=4, alpha=8), seed=0)
    torch.manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in trainable(adapted).items():
            if "q_proj" in name or "k_proj" in name:
                parameter.normal_(0.0, STRENGTH)
    yield adapted
    for name in ("turned", "astray"):
        shutil.rmtree(trained.models / "adapters" / name, ignore_errors=True)


async def asked(trained: Trained, backend: str, file: str, adapter: str | None) -> str:
    """What the question is answered with by the product's own backend."""
    spec = ModelSpec(name=language_model.FOLDER, backend=backend, path=trained.models / file, options={"slots": 1})
    made = make_backend(spec, small_node(trained.models))
    async with asyncio.timeout(120):
        await made.load(lambda: None)
        try:
            request = GenerateRequest(
                request_id="r1",
                model=language_model.FOLDER,
                adapter=adapter,
                messages=(ChatMessage(role="user", content=QUESTION),),
                sampling=Sampling(max_tokens=10, temperature=0.0),
            )
            return "".join([chunk.text async for chunk in made.generate(request)])
        finally:
            await made.close()


def test_inference_reads_both_formats_as_of_this_model(trained: Trained) -> None:
    for kind in ("peft", "gguf"):
        found, refused = read_adapters(trained.models, kind)
        assert refused == {}
        assert found[NAME].base == language_model.FOLDER


def test_the_adapter_says_what_it_was_taught(trained: Trained) -> None:
    assert trained.said.strip() == ANSWER
    assert trained.before.strip() != ANSWER


@pytest.mark.parametrize(
    ("backend", "file"), [("transformers", language_model.FOLDER), ("llama_cpp", language_model.GGUF_FILE)]
)
async def test_a_node_answers_as_the_trainer_did(trained: Trained, backend: str, file: str) -> None:
    assert (await asked(trained, backend, file, NAME)).strip() == ANSWER
    assert (await asked(trained, backend, file, None)).strip() != ANSWER


async def test_queries_and_keys_are_in_the_order_of_each_format(
    trained: Trained, turned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was trained above hardly needs them: here they alone are changed, by much."""
    from services.trainer import export, gguf_lora

    def save(name: str) -> None:
        export.save_adapter(turned, trained.models / "adapters" / name, base=language_model.FOLDER)

    save("turned")
    right = await asked(trained, "transformers", language_model.FOLDER, "turned")
    assert await asked(trained, "llama_cpp", language_model.GGUF_FILE, "turned") == right
    assert right != await asked(trained, "transformers", language_model.FOLDER, None)
    # The mutation: as transformers has them.
    monkeypatch.setattr(gguf_lora, "_interleaved", lambda values, heads: values)
    save("astray")
    assert await asked(trained, "llama_cpp", language_model.GGUF_FILE, "astray") != right


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_itself_reads_the_folder(trained: Trained) -> None:
    peft: Any = import_module("peft")
    transformers: Any = import_module("transformers")
    base = trained.models / language_model.FOLDER
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    adapted = peft.PeftModel.from_pretrained(model, trained.models / "adapters" / NAME)
    assert greedy(adapted, tokenizer).strip() == ANSWER


def test_exporting_again_replaces_the_folder_whole(trained: Trained) -> None:
    folder = trained.models / "adapters" / NAME
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["adapter.gguf", "adapter.json", "adapter_config.json", "adapter_model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == [NAME]
