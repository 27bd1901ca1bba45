"""What cognition is configured with."""

from __future__ import annotations

from functools import cache

from pydantic import Field

from libs.shared.contracts.scheduling import USUAL_PATIENCE_S
from libs.shared.settings import ServiceSettings


class CognitionSettings(ServiceSettings):
    """Environment variables ``MONGARS_…``; times in seconds."""

    generate_attempts: int = Field(default=3, ge=1, le=10)
    """Replicas that are tried before the first token."""
    first_token_s: float = Field(default=USUAL_PATIENCE_S, gt=0)
    """From a request's arrival to its first token, over all attempts; below what the api waits for."""
    embed_query_s: float = Field(default=1.0, gt=0)
    """A question's embedding that takes longer is done without."""
    restart_patience_s: float = Field(default=6.0, ge=0)
    """How long a request waits for a service that is restarting."""
    history_messages: int = Field(default=40, ge=1, le=500)
    """Most kept messages that are read of a conversation."""
    recall_candidates: int = Field(default=48, ge=1, le=1000)
    """Candidates that persistence is asked for, by each kind of evidence; as many as are wanted if that is more."""
    embed_batch: int = Field(default=8, ge=1, le=512)
    """Texts that are sent to the embedder at a time while indexing: so many are done in time, however slow it is."""
    document_read_s: float = Field(default=120.0, gt=0, le=200)
    """Reading one document may take so long, in a process of its own."""
    document_memory_mib: int = Field(default=1024, ge=256)
    """Address space of that process, its libraries (about 200) included."""


@cache
def get_settings() -> CognitionSettings:
    """Resolved once a process."""
    return CognitionSettings()
