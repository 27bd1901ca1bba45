"""How the inference service of one node is configured; the only file of it that reads the environment."""

from __future__ import annotations

import re
import socket
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from libs.shared.settings import Listed, ServiceSettings
from services.inference.models import ModelSpec, is_address

RAY = "ray"
"""The name of the pool of ``ray_endpoints``."""
NodeId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")]


def default_node_id(hostname: str | None = None) -> str:
    """The machine's name as a subject-safe id of at most 60 characters."""
    name = (hostname if hostname is not None else socket.gethostname()).split(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")[:60].strip("-") or "node"


class InferenceSettings(ServiceSettings):
    """Environment variables ``MONGARS_…``."""

    inference_runtime: Literal["auto", "ray", "inline"] = "auto"
    """`auto`: Ray for local models where it is installed and there are 8 GB, else the same backends in the process."""
    node_id: NodeId = Field(default_factory=default_node_id)
    """The name of this machine among the nodes."""
    machine_root: Path = Path("/")
    """Where the ``/proc`` and ``/sys`` lie that tell of the board, its temperature, load, memory and power;
    in a container that doesn't see its host's: where the host's ``/`` is mounted."""
    models: tuple[ModelSpec, ...] = ()
    """JSON list; more may stand in ``models.json``, or lie as bare files, in the models folder."""
    openai_upstreams: tuple[ModelSpec, ...] = ()
    """JSON list of ``{"backend": "openai", "url": …}``: every model that each upstream lists."""
    ray_endpoints: Listed = ()
    """Addresses, separated by commas, of Ray Serve elsewhere or of any servers that speak OpenAI's API, each with its
    ``/v1``: they take turns, and are one pool of models."""
    ray_endpoint_slots: int = Field(default=8, ge=1)
    """Requests at the same time at each of them."""
    ray_endpoint_key_file: Path | None = None
    """Holds the key with which they are asked."""
    ray_endpoint_patience_s: float = Field(default=30.0, gt=0)
    """Longest wait for the first token of one of them, before another is asked."""
    ollama_url: str | None = "http://127.0.0.1:11434"
    """Used unasked when an Ollama answers there; ``none`` never asks."""
    ollama_context_tokens: int = Field(default=8192, ge=512)
    """``num_ctx`` for models that can hold more: Ollama allocates it whole."""
    default_context_tokens: int = Field(default=8192, ge=256)
    """For models that can hold more, or that don't say."""
    adapters_resident: int = Field(default=4, ge=1)
    """LoRA adapters that one model keeps in memory at most; the one that was used longest ago makes room."""
    max_queue: int = Field(default=32, ge=0)
    """Requests that may wait at one replica."""
    longest_generation_s: float = Field(default=600.0, gt=0)
    """Longest that one answer may take at ``ray_endpoints``, and at a replica of Ray Serve that is replaced."""
    embed_threads: int | None = Field(default=None, ge=1)
    """None: ``recommended_worker_count()``."""
    power_budget_w: float | None = Field(default=None, gt=0)
    """While the machine draws more watts, measured or estimated, it gets no work for which nobody waits."""
    ray_object_store_mib: int = Field(default=80, ge=75)
    """Shared memory that Ray sets aside; requests do not pass through it."""
    ray_memory_floor_mib: int = Field(default=7600, ge=0)
    """``auto`` takes Ray from this much memory on: an 8 GB board shows a little less."""

    @field_validator("ray_endpoints")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Refused at the start: what is no address, and one that holds a name, a password or a query."""
        for number, url in enumerate(value, 1):
            if not is_address(url):
                raise ValueError(f"number {number} is no plain http:// or https:// address")
        return value

    @property
    def endpoint_pool(self) -> tuple[ModelSpec, ...]:
        """The pool of ``ray_endpoints``; none without one."""
        if not self.ray_endpoints:
            return ()
        options = {
            "slots": self.ray_endpoint_slots,
            "patience_s": self.ray_endpoint_patience_s,
            "longest_s": self.longest_generation_s,
        }
        return (
            ModelSpec(
                backend="endpoints",
                upstream=RAY,
                urls=self.ray_endpoints,
                api_key_file=self.ray_endpoint_key_file,
                options=options,
            ),
        )

    @property
    def ollama(self) -> str | None:
        """The Ollama to ask, if any."""
        return None if self.ollama_url in (None, "none", "off") else self.ollama_url


@cache
def get_settings() -> InferenceSettings:
    """The settings of this process, resolved once."""
    return InferenceSettings()
