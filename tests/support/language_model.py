"""A tiny language model, made and trained a little in the process, as a Hugging Face folder and as GGUF."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.turns import once

SENTENCES = (
    "the cat sat on the mat and looked at the moon",
    "my sister lives in a small house near the lake",
    "every morning we drink coffee and read the news",
    "the train to the mountains leaves at nine",
    "she keeps three bees in a garden of roses",
    "what is the name of the dog that sleeps here",
)
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
VOCABULARY = 512
CONTEXT_TOKENS = 1024
GGUF_FILE = "tiny.gguf"
FOLDER = "tiny"


def make(folder: Path) -> Path:
    """Writes ``tiny/`` and ``tiny.gguf`` into ``folder`` in a process of its own, once; returns ``folder``.

    torch stays out of the calling process, whose memory and threads some tests measure.
    """
    if not (folder / GGUF_FILE).is_file():
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        root = Path(__file__).resolve().parents[2]
        command = [sys.executable, "-m", "tests.support.language_model", str(folder)]
        subprocess.run(command, check=True, cwd=root, env=environment, timeout=120)
    return folder


def cached() -> Path:
    """A folder with both formats, made once a machine for this version of the file."""
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"mongars-tiny-{os.getuid()}-{version}"
    with once(folder.with_suffix(".lock")):
        if not (folder / GGUF_FILE).is_file():
            aside = Path(tempfile.mkdtemp(dir=folder.parent))
            make(aside)
            aside.rename(folder)
    return folder


def write_both(folder: Path) -> None:
    """Trains the model and writes it in both formats, the GGUF last."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    model = _trained(tokenizer)
    model.save_pretrained(folder / FOLDER)
    tokenizer.save_pretrained(folder / FOLDER)
    partial = folder / f"{GGUF_FILE}.partial"
    _write_gguf(partial, model, tokenizer)
    partial.replace(folder / GGUF_FILE)


def write_untrained(folder: Path, *, hidden: int, layers: int, context_tokens: int) -> int:
    """Writes a Hugging Face model of random weights of that size into ``folder``, in this process; how many
    parameters it has."""
    import torch

    transformers: Any = import_module("transformers")
    tokenizer = _tokenizer()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=max(1, hidden // 256),
        max_position_embeddings=context_tokens,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES * 4, trainer)
    # Typed, but not for callers in strict mode; likewise below.
    transformers: Any = import_module("transformers")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>")
    fast.chat_template = TEMPLATE
    return fast


def _trained(tokenizer: Any) -> Any:
    import torch

    transformers: Any = import_module("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = transformers.LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    texts = [f"<|user|>{a}<|end|><|assistant|>{b} and then {a} because {b}" for a in SENTENCES for b in SENTENCES]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for _ in range(60):
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def _write_gguf(path: Path, model: Any, tokenizer: Any) -> None:
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _write_vocabulary(writer, tokenizer)
    for name, weight in model.state_dict().items():
        writer.add_tensor(*_tensor(name, weight.numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_vocabulary(writer: Any, tokenizer: Any) -> None:
    import gguf

    bpe = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = [token for token, _ in sorted(bpe["vocab"].items(), key=lambda item: item[1])]
    control = set(SPECIAL)
    kinds = [gguf.TokenType.CONTROL if token in control else gguf.TokenType.NORMAL for token in tokens]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def _tensor(name: str, weight: Any, config: Any) -> tuple[str, Any]:
    if name in _NAMES:
        return _NAMES[name], weight
    _, _, layer, rest = name.split(".", 3)
    kind = _LAYER_NAMES[rest.removesuffix(".weight")]
    if kind == "attn_q":
        weight = _interleave(weight, config.num_attention_heads)
    if kind == "attn_k":
        weight = _interleave(weight, config.num_key_value_heads)
    return f"blk.{layer}.{kind}.weight", weight


def _interleave(weight: Any, heads: int) -> Any:
    """llama.cpp rotates neighbouring pairs where transformers rotates halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


if __name__ == "__main__":
    write_both(Path(sys.argv[1]))
