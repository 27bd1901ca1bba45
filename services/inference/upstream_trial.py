"""Tries a server of models before it is kept, as inference would ask it; run by ``mongars upstreams add`` and ``test``.

Reads a line of JSON, ``Trial``; prints one: ``Found``, or ``{"refused": reason, "detail": …}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit
from uuid import uuid4

from libs.shared.contracts.chat import ChatMessage, Sampling
from libs.shared.contracts.inference import GenerateRequest
from libs.shared.errors import BackendFailed, ModelNotFound, ServiceError
from libs.shared.upstreams import Found
from services.inference.backends.ollama import OllamaBackend
from services.inference.backends.openai import OpenAIBackend
from services.inference.backends.upstream import UpstreamRefused
from services.inference.consent import Consent
from services.inference.models import ModelSpec

TRIED = 3
"""Models that are asked, until one answers: some servers list what can't chat."""
ANSWER_TOKENS = 16
CONTEXT_TOKENS = 2048
_NO_CHAT = ("embed", "whisper", "tts", "dall-e", "moderation", "image", "audio", "rerank", "transcribe", "realtime")
_FINAL = ("no_such_host", "unreachable", "timeout", "tls")
"""Reasons that another path at the same server would meet too."""

AnyBackend = OllamaBackend | OpenAIBackend


@dataclass(frozen=True)
class Trial:
    """What to try."""

    url: str
    name: str
    models: tuple[str, ...] = ()
    key_file: str | None = None
    remote: bool = False
    """Whether it may lie beyond this network."""
    backend: str | None = None
    """None: find out."""


def candidates(trial: Trial) -> list[tuple[str, str]]:
    """Backend and address, in the order in which they are tried: an Ollama is known by its own API. Pure."""
    url = trial.url.rstrip("/")
    if trial.backend is not None:
        return [(trial.backend, url)]
    path = urlsplit(url).path.rstrip("/")
    if path == "/v1":
        return [("ollama", url.removesuffix("/v1")), ("openai", url)]
    if path:
        return [("openai", url), ("openai", f"{url}/v1")]
    return [("ollama", url), ("openai", f"{url}/v1"), ("openai", url)]


async def tried(trial: Trial) -> Found:
    """Raises ServiceError: the failure that says most."""
    failures: list[ServiceError] = []
    for kind, url in candidates(trial):
        backend = made(trial, kind, url)
        try:
            await recognised(backend)
            return await _answered(trial, kind, url, backend)
        except ServiceError as error:
            failures.append(error)
            if not isinstance(error, BackendFailed | ModelNotFound) or error.data.get("reason") in (*_FINAL, "answer"):
                break
        finally:
            await backend.close()
    raise max(failures, key=_telling)


def made(trial: Trial, kind: str, url: str) -> AnyBackend:
    """As inference makes it."""
    key_file = Path(trial.key_file) if trial.key_file else None
    spec = ModelSpec(backend=kind, url=url, upstream=trial.name, models=trial.models, api_key_file=key_file)
    consent = Consent(trial.remote)
    if kind == "ollama":
        return OllamaBackend(spec, consent, context_tokens=CONTEXT_TOKENS)
    return OpenAIBackend(spec, consent, default_context_tokens=CONTEXT_TOKENS)


async def recognised(backend: AnyBackend) -> None:
    """Lists the models. Other servers imitate an Ollama's list, none its version."""
    if isinstance(backend, OllamaBackend):
        await backend.upstream.admit()
        try:
            told = await backend.upstream.get("/api/version")
        except UpstreamRefused as error:
            raise BackendFailed("this is no Ollama", reason="protocol") from error
        if not isinstance(told, dict) or "version" not in told:
            raise BackendFailed("this is no Ollama", reason="protocol")
    try:
        await backend.look()
    except ModelNotFound as error:
        raise BackendFailed("this is no server that speaks OpenAI's API", reason="protocol") from error


async def _answered(trial: Trial, kind: str, url: str, backend: AnyBackend) -> Found:
    served = backend.models()
    missing = [name for name in trial.models if not any(m.name.removeprefix(f"{trial.name}/") == name for m in served)]
    if missing:
        raise ModelNotFound(f"the server lists no model {missing[0]}", reason="model")
    likely = [m.name for m in served if not any(word in m.name.lower() for word in _NO_CHAT)] or [
        m.name for m in served
    ]
    if not likely:
        raise BackendFailed("the server lists no model", reason="answer")
    failure: ServiceError | None = None
    for name in likely[:TRIED]:
        begun = perf_counter()
        try:
            await _asked(backend, name)
        except ServiceError as error:
            failure = error
            continue
        seconds = round(perf_counter() - begun, 2)
        names, far = tuple(m.name for m in served), tuple(m.name for m in served if m.remote)
        return Found(kind, url, bool(backend.upstream.remote), names, far, name, seconds)
    assert failure is not None
    raise BackendFailed(f"{likely[0]} did not answer: {failure.detail}", reason=_answer_reason(failure)) from failure


def _answer_reason(failure: ServiceError) -> str:
    reason = failure.data.get("reason")
    return str(reason) if reason in ("unauthorized", *_FINAL) else "answer"


async def _asked(backend: AnyBackend, model: str) -> None:
    question = GenerateRequest(
        request_id=uuid4().hex,
        model=model,
        messages=(ChatMessage(role="user", content="Say hello."),),
        sampling=Sampling(max_tokens=ANSWER_TOKENS),
        remote=True,
    )
    async for _ in backend.generate(question):
        pass


def _telling(error: ServiceError) -> int:
    """How much a failure says of what is wrong."""
    order = ("protocol", "upstream_refused", "upstream_error", "broke_off", "unauthorized", "answer", "model")
    reason = error.data.get("reason")
    return order.index(str(reason)) if reason in order else len(order) if reason else -1


def main() -> None:
    """One trial."""
    asked = json.loads(sys.stdin.readline())
    trial = Trial(**{**asked, "models": tuple(asked.get("models", ()))})
    try:
        told = asdict(asyncio.run(tried(trial)))
    except ServiceError as error:
        told = {"refused": error.data.get("reason") or error.code, "detail": error.detail}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
