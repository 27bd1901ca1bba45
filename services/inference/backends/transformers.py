"""Hugging Face models by torch in this process: a folder, or a hub id fetched into the models folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import Any

from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel, with_adapter
from libs.shared.errors import (
    AdapterBroken,
    AdapterMismatched,
    BackendFailed,
    ContextExceeded,
    ModelBroken,
    ServiceError,
    Unsupported,
)
from services.inference.adapter_shelf import AdapterShelf
from services.inference.adapters import Adapter
from services.inference.backends import lora
from services.inference.backends.base import Changed, reads_on
from services.inference.backends.prefix_cache import PrefixCache, stretches
from services.inference.backends.stopping import StopFilter
from services.inference.fit import Shape, check_fit, folder_shape
from services.inference.models import ModelSpec
from services.inference.unfinished_loads import UnfinishedLoads

KEPT_S = 600.0
"""What was read last is held for so long after the last answer."""
HUB_FOLDER = "hub"
HUB_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]
"""Weights in a format that can't run code, and what a tokenizer needs."""


class TransformersBackend:
    """One model, one request at a time."""

    name = "transformers"
    slots = 1

    def __init__(
        self,
        spec: ModelSpec,
        *,
        folder: Path,
        loads: Path,
        default_context_tokens: int,
        threads: int,
        available_mib: Callable[[], float],
        adapters_resident: int = 4,
    ) -> None:
        self._spec = spec
        self._folder = folder
        self._default_context = default_context_tokens
        self._threads = threads
        self._available_mib = available_mib
        self._worker = ThreadPoolExecutor(1, f"torch-{spec.name}")
        self._model: Any = None
        self._tokenizer: Any = None
        self._served: ServedModel | None = None
        self._prefix = PrefixCache()
        self._stretches = False
        self._clearing: asyncio.TimerHandle | None = None
        self._adapters_resident = adapters_resident
        self._shelf = AdapterShelf(folder, spec, self._check_adapter, UnfinishedLoads(loads, spec.name))
        self._residents: lora.Residents | None = None
        self._changed: Changed = lambda: None

    async def load(self, changed: Changed) -> None:
        self._changed = changed
        loop = asyncio.get_running_loop()
        folder = self._spec.path
        if folder is None:
            folder = await loop.run_in_executor(self._worker, self._fetch)
        shape = await loop.run_in_executor(self._worker, self._shape, folder)
        check_fit(self._spec.name, shape.needs, self._available_mib())
        await loop.run_in_executor(self._worker, self._load, folder)
        await self._shelf.look()
        self._served = ServedModel(
            name=self._spec.name,
            backend=self.name,
            context_tokens=shape.context_tokens,
            adapters=self._shelf.names,
            restricted=self._shelf.restricted,
        )
        self._shelf.begin(self._take_adapters)

    def models(self) -> tuple[ServedModel, ...]:
        return (self._served,) if self._served else ()

    def troubles(self) -> tuple[str, ...]:
        return self._shelf.troubles()

    def loaded_adapters(self) -> tuple[str, ...]:
        loaded = self._residents.loaded if self._residents is not None else ()
        here = {with_adapter(self._spec.name, one.name) for one in loaded if self._shelf.adapters.get(one.name) == one}
        return tuple(sorted(here))

    async def prepare(self, request: GenerateRequest) -> None:
        adapter = self._shelf.get(request.adapter)
        residents = self._residents
        if adapter is None or residents is None or adapter in residents.loaded:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._bring, residents, adapter)
        except (AdapterBroken, AdapterMismatched) as error:
            self._shelf.refuse(adapter, error)
            raise
        finally:
            self._tell_of_adapters()

    def _bring(self, residents: lora.Residents, adapter: Adapter) -> None:
        with self._shelf.unfinished.marked((adapter,)):
            residents.load(adapter)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        assert self._served is not None
        adapter = self._shelf.get(request.adapter)
        loop = asyncio.get_running_loop()
        tokens: asyncio.Queue[int | Exception | None] = asyncio.Queue()
        encoded = await loop.run_in_executor(self._worker, self._encode, request)
        limit = _limit(int(encoded.shape[1]), self._served.context_tokens, request.sampling.max_tokens)
        run = _Run(request, encoded, limit, _sender(tokens), adapter)
        work = loop.run_in_executor(self._worker, self._run, run)
        answer = _Answer(self._tokenizer, request.sampling.stop)
        try:
            while (token := await tokens.get()) is not None:
                if isinstance(token, ServiceError):
                    raise token
                if isinstance(token, Exception):
                    raise BackendFailed("torch failed", reason="inference") from token
                if text := answer.take(token):
                    yield GenerateChunk(text=text)
                if answer.stopped:
                    break
            yield answer.last(int(encoded.shape[1]), limit, run.cached)
            self._tell_of_cache()
        finally:
            run.cancelled.set()
            work.cancel()
            self._clear_later(loop)

    def _tell_of_cache(self) -> None:
        """Whether a model's cache can be shortened shows with its first answer."""
        if self._served is not None and self._prefix.holds and not self._served.caches_prefix:
            self._served = self._served.model_copy(update={"caches_prefix": True})
            self._changed()

    def _clear_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nobody's words stay for long where nobody goes on with them."""
        if self._clearing is not None:
            self._clearing.cancel()
        self._clearing = loop.call_later(KEPT_S, self._worker.submit, self._prefix.clear)

    def _check_adapter(self, adapter: Adapter) -> None:
        assert self._residents is not None
        lora.check(adapter, self._residents.layers)

    async def _take_adapters(self) -> None:
        """Some came or went."""
        self._tell_of_adapters()

    def _tell_of_adapters(self) -> None:
        """They came or went, or one was loaded."""
        if self._served is None or self._residents is None:
            return
        self._worker.submit(self._residents.keep, frozenset(self._shelf.adapters.values()))
        update: dict[str, Any] = {"adapters": self._shelf.names, "restricted": self._shelf.restricted}
        update["adapter_load_s"] = self._residents.load_s
        self._served = self._served.model_copy(update=update)
        self._changed()

    async def close(self) -> None:
        if self._clearing is not None:
            self._clearing.cancel()
        self._served = None
        await self._shelf.close()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _fetch(self) -> Path:
        from huggingface_hub import snapshot_download

        cache = self._folder / HUB_FOLDER
        assert self._spec.hub is not None
        try:
            return Path(snapshot_download(self._spec.hub, cache_dir=cache, allow_patterns=HUB_PATTERNS))
        except (OSError, ValueError) as error:
            raise BackendFailed("the hub can't be reached, or lacks the model", reason="unreachable") from error

    def _shape(self, folder: Path) -> Shape:
        return folder_shape(folder, self._spec.context_tokens, self._default_context)

    def _load(self, folder: Path) -> None:
        import torch

        # Typed, but not for callers in strict mode.
        transformers: Any = import_module("transformers")
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(self._threads)
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype="auto")
        except Exception as error:
            # Whatever a damaged folder raises in there (dozens of kinds), it is the folder's fault.
            raise ModelBroken(f"{folder.name} can't be loaded by transformers") from error
        self._stretches = stretches(model.config)
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self._residents = lora.Residents(self._model, self._adapters_resident, self._available_mib)

    def _encode(self, request: GenerateRequest) -> Any:
        if not self._tokenizer.chat_template:
            raise Unsupported(f"{self._spec.name} has no chat template", feature="chat")
        messages = [
            {"role": "system" if message.role == "developer" else message.role, "content": message.text}
            for message in request.messages
        ]
        encoded = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        return encoded["input_ids"]

    def _run(self, run: _Run) -> None:
        import torch

        assert self._residents is not None
        try:
            self._residents.use(run.adapter)
            if run.request.sampling.seed is not None:
                torch.manual_seed(run.request.sampling.seed)
            with torch.inference_mode():
                self._generate(run)
        except Exception as error:
            run.send(error)
        finally:
            run.send(None)

    def _generate(self, run: _Run) -> None:
        import torch

        ids = run.input_ids.to(self._model.device)
        session = None if self._stretches else reads_on(run.request)
        cache = None
        if session is not None:
            cache, run.cached = self._prefix.take(session, run.input_ids[0].tolist(), run.adapter)
        made = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=cache,
            max_new_tokens=run.limit,
            pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id,
            streamer=_Streamer(run.send),
            stopping_criteria=[lambda ids, scores, **_: _stops(ids, run.cancelled)],
            return_dict_in_generate=True,
            **_choice(run.request, int(ids.shape[1])),
        )
        if session is not None:
            self._prefix.keep(session, made.past_key_values, made.sequences[0].tolist(), run.adapter)


@dataclass
class _Run:
    """One answer, as the worker makes it."""

    request: GenerateRequest
    input_ids: Any
    """1 × prompt tokens."""
    limit: int
    send: Callable[[int | Exception | None], None]
    adapter: Adapter | None = None
    cancelled: Event = field(default_factory=Event)
    cached: int = 0
    """Tokens of the prompt that had been read before."""


class _Answer:
    """Tokens to text: a token may be a part of a character, and of a stop string."""

    def __init__(self, tokenizer: Any, stops: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._filter = StopFilter(stops)
        self._window: list[int] = []
        """Tokens from the last place where text was whole; decoded anew with each token, so it is kept short."""
        self._shown = ""
        self._count = 0
        self._ended = False

    @property
    def stopped(self) -> bool:
        return self._filter.stopped

    def take(self, token: int) -> str:
        """The text that ``token`` brings to light."""
        self._count += 1
        self._ended = token == self._tokenizer.eos_token_id
        self._window.append(token)
        text = self._tokenizer.decode(self._window, skip_special_tokens=True)
        if text.endswith("\ufffd"):
            return ""
        new = text[len(self._shown) :]
        # One token stays as context: some tokenizers write a word's space only after another token.
        self._window = self._window[-1:]
        self._shown = self._tokenizer.decode(self._window, skip_special_tokens=True)
        return self._filter.feed(new)

    def last(self, prompt_tokens: int, limit: int, cached_tokens: int) -> GenerateChunk:
        finish = "stop" if self.stopped or self._ended or self._count < limit else "length"
        usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=self._count, cached_tokens=cached_tokens)
        return GenerateChunk.model_validate({"text": self._filter.rest(), "finish_reason": finish, "usage": usage})


class _Streamer:
    """What ``generate`` calls with the prompt first, and then with each token."""

    def __init__(self, send: Callable[[int], None]) -> None:
        self._send = send
        self._prompt = True

    def put(self, value: Any) -> None:
        if self._prompt:
            self._prompt = False
            return
        for token in value.reshape(-1).tolist():
            self._send(int(token))

    def end(self) -> None:
        return None


def _sender(queue: asyncio.Queue[int | Exception | None]) -> Callable[[int | Exception | None], None]:
    """Hands over from the worker thread; the loop may be gone when the process stops."""
    loop = asyncio.get_running_loop()

    def send(token: int | Exception | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, token)

    return send


def _stops(ids: Any, cancelled: Event) -> Any:
    import torch

    return torch.full((ids.shape[0],), cancelled.is_set(), dtype=torch.bool, device=ids.device)


def _limit(prompt_tokens: int, context_tokens: int, wanted: int | None) -> int:
    """How many tokens may be generated. Raises ContextExceeded when there is no room for any."""
    if prompt_tokens >= context_tokens:
        raise ContextExceeded(
            "the prompt is longer than the model's context",
            prompt_tokens=prompt_tokens,
            context_tokens=context_tokens,
        )
    return min(wanted or context_tokens, context_tokens - prompt_tokens)


def _choice(request: GenerateRequest, prompt_tokens: int) -> dict[str, Any]:
    """Sampling in the words of ``generate``; what isn't given is the model's own default."""
    sampling = request.sampling
    chosen: dict[str, Any] = {}
    if sampling.temperature == 0:
        chosen["do_sample"] = False
    elif sampling.temperature is not None or sampling.top_p is not None:
        chosen |= {"do_sample": True, "temperature": sampling.temperature or 1.0}
    if sampling.top_p is not None and sampling.temperature != 0:
        chosen["top_p"] = sampling.top_p
    presence, frequency = sampling.presence_penalty or 0.0, sampling.frequency_penalty or 0.0
    if presence or frequency:
        chosen["logits_processor"] = [lambda ids, scores: _penalised(ids, scores, prompt_tokens, presence, frequency)]
    return chosen


def _penalised(ids: Any, scores: Any, prompt_tokens: int, presence: float, frequency: float) -> Any:
    """OpenAI's penalties: per use of a token in the answer so far, and once for having been used."""
    import torch

    used = ids[:, prompt_tokens:]
    counts = torch.zeros_like(scores).scatter_add_(1, used, torch.ones_like(used, dtype=scores.dtype))
    return scores - frequency * counts - presence * (counts > 0).to(scores.dtype)
