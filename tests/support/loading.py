"""A process that brings the tiny model into memory with the adapters that lie in a folder, tells of them, and ends.

``python -m tests.support.loading FOLDER``: by ``FOLDER/loads`` it knows which of them ended the one before it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from libs.shared.contracts.chat import ChatMessage, Sampling
from libs.shared.contracts.inference import GenerateRequest
from services.inference import adapters
from services.inference.backends.choose import make_backend
from services.inference.backends.llama_cpp import LlamaCppBackend
from services.inference.models import ModelSpec
from tests.support import language_model
from tests.support.small_node import small_node


async def main(folder: Path) -> None:
    """Once every adapter was tried."""
    # A header that names numbers of this kind is refused: here llama.cpp is to meet them.
    vars(adapters)["WEIGHTS"] = frozenset(range(64))
    node = small_node(folder)
    spec = ModelSpec(name="tiny", backend="llama_cpp", path=language_model.cached() / language_model.GGUF_FILE)
    backend = make_backend(spec, node)
    assert isinstance(backend, LlamaCppBackend)
    tried = asyncio.Event()
    await backend.load(tried.set)
    found = backend._shelf.adapters
    async with asyncio.timeout(60):
        while {f"tiny:{name}" for name in found} - set(backend.loaded_adapters()):
            await tried.wait()
            tried.clear()
    request = GenerateRequest(
        request_id="r1",
        model="tiny",
        messages=(ChatMessage(role="user", content="the cat sat"),),
        sampling=Sampling(max_tokens=4),
    )
    said = "".join([chunk.text async for chunk in backend.generate(request)])
    print(json.dumps({"loaded": backend.loaded_adapters(), "troubles": backend.troubles(), "said": said}))
    await backend.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
