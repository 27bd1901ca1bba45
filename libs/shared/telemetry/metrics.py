"""Every instrument of the installation, declared once; a service records into the ones it has something to say for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from libs.shared.errors import ServiceError
from libs.shared.telemetry.instruments import Counter, Histogram, Instrument, Label, UpDownCounter

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

OPERATION = Label(
    "gen_ai.operation.name",
    frozenset({"chat", "embeddings", "search_memory", "upsert_memory", "delete_memory", "create_memory_store"}),
)
PROVIDER = Label(
    "gen_ai.provider.name", frozenset({"openai", "ollama", "llama_cpp", "transformers", "extractive", "minilm"})
)
MODEL = Label("gen_ai.request.model")
TOKEN_TYPE = Label("gen_ai.token.type", frozenset({"input", "output"}))
ERROR_TYPE = Label("error.type", frozenset(ServiceError.codes()) | {"cancelled", "timeout", "no_model"})
REASON = Label(
    "reason",
    frozenset(ServiceError.codes())
    | {"timeout", "silent", "refused", "broke_off", "error", "draining", "breaker_open", "ok", "excluded", "saturated"}
    | {"no_telemetry", "affinity", "expected_completion", "only_candidate", "model_missing", "client_gone"}
    | {"outrun"}
    | {"unreachable", "no_such_host", "tls", "protocol", "unauthorized", "upstream_error", "upstream_refused"},
)
ASKED = Label("llm.ray.asked", frozenset({"replica", "endpoint"}))
"""A request to an endpoint of a pool is part of one to the replica that stands for the pool: the two aren't added."""
HEDGE = Label("llm.ray.hedge", frozenset({"sent", "won", "lost", "failed", "no_budget", "no_node"}))
TRAINING = Label("training.outcome", frozenset({"done", "failed", "cancelled"}))
PAUSE = Label(
    "training.pause.reason",
    frozenset({"request", "busy", "recent_request", "hot", "throttled", "on_battery", "over_power_budget", "no_room"}),
)
SLEEP_PHASE = Label("sleep.phase", frozenset({"light", "deep", "paradoxical"}))
SLEEP_END = Label("sleep.outcome", frozenset({"done", "woken", "interrupted"}))
SCALED = Label("scaling.workers.of", frozenset({"cognition", "inference", "api"}))
SCALED_TO = Label("scaling.direction", frozenset({"more", "fewer"}))
ENERGY_SOURCE = Label("sleep.energy.source", frozenset({"measured", "estimated"}))
CACHE = Label(
    "cache.name",
    frozenset(
        {"api_keys", "revocations", "settings", "recall", "embeddings", "models", "turn_keys", "accounts", "drafts"}
    ),
)
LAYER = Label("cache.layer", frozenset({"process", "kv"}))
CAUSE = Label("cache.eviction.reason", frozenset({"expired", "full", "invalidated"}))
METHOD = Label("http.request.method", frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}))
ROUTE = Label("http.route", learns=128)
STATUS = Label("http.response.status_code", frozenset(str(code) for code in range(100, 600)))

_DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_YIELD = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0)
_HTTP = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Bounds as the GenAI and HTTP semantic conventions advise them."""

OPERATION_DURATION = Histogram(
    REGISTRY,
    "gen_ai.client.operation.duration",
    "Duration of a generation, an embedding or a memory operation, as its caller sees it",
    OPERATION,
    PROVIDER,
    MODEL,
    ERROR_TYPE,
    unit="s",
    bounds=_DURATIONS,
)
TOKEN_USAGE = Histogram(
    REGISTRY,
    "gen_ai.client.token.usage",
    "Tokens of a prompt or an answer",
    OPERATION,
    PROVIDER,
    MODEL,
    TOKEN_TYPE,
    unit="{token}",
    bounds=_TOKENS,
)
TIME_TO_FIRST_TOKEN = Histogram(
    REGISTRY,
    "gen_ai.server.time_to_first_token",
    "From a request's arrival at the replica until its first token",
    OPERATION,
    PROVIDER,
    MODEL,
    unit="s",
    bounds=_FIRST_TOKEN,
)
TIME_PER_OUTPUT_TOKEN = Histogram(
    REGISTRY,
    "gen_ai.server.time_per_output_token",
    "Time per token after the first",
    OPERATION,
    PROVIDER,
    MODEL,
    unit="s",
    bounds=_PER_TOKEN,
)
LLM_REQUESTS = Counter(REGISTRY, "llm.ray.requests", "Generations asked for, retries included", MODEL, ASKED)
LLM_SUCCESSES = Counter(REGISTRY, "llm.ray.successes", "Generations that reached their end", MODEL, ASKED)
LLM_FAILURES = Counter(REGISTRY, "llm.ray.failures", "Generations that did not, by reason", MODEL, REASON, ASKED)
LLM_FALLBACKS = Counter(
    REGISTRY, "llm.ray.fallbacks", "Requests that went to another replica or endpoint, or to none", REASON, ASKED
)
LLM_HEDGES = Counter(
    REGISTRY,
    "llm.ray.hedges",
    "Second copies of short requests that were late: sent, what became of them, refused",
    HEDGE,
)
LLM_LATENCY = Histogram(
    REGISTRY,
    "llm.ray.latency",
    "From asking a replica or an endpoint until its last chunk",
    MODEL,
    ASKED,
    unit="s",
    bounds=_DURATIONS,
)
CACHE_HITS = Counter(REGISTRY, "cache.hits", "Answers from a cache", CACHE, LAYER)
CACHE_MISSES = Counter(REGISTRY, "cache.misses", "Questions that a cache had no answer to", CACHE, LAYER)
CACHE_SKIPPED = Counter(REGISTRY, "cache.skipped", "Questions that a cache was not asked: it was away", CACHE, LAYER)
CACHE_EVICTIONS = Counter(REGISTRY, "cache.evictions", "Entries that left a cache, by reason", CACHE, LAYER, CAUSE)
SCHEDULER_DECISIONS = Counter(REGISTRY, "scheduler.decisions", "Placements, and refusals to place, by reason", REASON)
TRAINING_RUNS = Counter(REGISTRY, "training.runs", "Training runs that ended, by outcome", TRAINING)
TRAINING_PAUSES = Counter(REGISTRY, "training.pauses", "Times that a run made way, by reason", PAUSE)
SLEEP_CYCLES = Counter(REGISTRY, "sleep.cycles", "Cycles of the night that ended, by outcome", SLEEP_END)
SLEEP_JOULES = Counter(
    REGISTRY, "sleep.joules", "Drawn by phases of the night beyond idleness", SLEEP_PHASE, ENERGY_SOURCE
)
SLEEP_PREEMPTION = Histogram(
    REGISTRY,
    "sleep.preemption.duration",
    "From a request's arrival at the gateway until what runs in the night uses no processor",
    unit="s",
    bounds=_YIELD,
)
SCALING_CHANGES = Counter(
    REGISTRY, "scaling.changes", "Times that another number of workers was asked for", SCALED, SCALED_TO
)
SCALING_WORKERS = UpDownCounter(REGISTRY, "scaling.workers", "Workers that run, where their number is seen to", SCALED)
HTTP_DURATION = Histogram(
    REGISTRY,
    "http.server.request.duration",
    "From a request's arrival until its last byte",
    METHOD,
    ROUTE,
    STATUS,
    unit="s",
    bounds=_HTTP,
)
HTTP_ACTIVE = UpDownCounter(REGISTRY, "http.server.active_requests", "Requests in flight", METHOD)

INSTRUMENTS: tuple[Instrument, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Counter | UpDownCounter | Histogram)
)

_service = ""


def name_service(service: str) -> None:
    """Every exposed sample of this process carries ``service``."""
    global _service
    _service = service


class _Labelled(Collector):
    """The registry's families with the service's name on each sample."""

    def collect(self) -> Iterator[Metric]:
        for family in REGISTRY.collect():
            family.samples = [
                sample._replace(labels={"service": _service, **sample.labels}) for sample in family.samples
            ]
            yield family


def metrics_text() -> str:
    """This process's metrics in Prometheus' text format."""
    return generate_latest(_Labelled()).decode()


def merge_metrics(texts: list[str]) -> str:
    """One exposition of several processes: each family's header once, with all its samples below it."""
    headers: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for text in texts:
        family = ""
        for line in text.splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                headers.setdefault(family, [])
            if line.startswith("#"):
                if line not in headers.setdefault(family, []):
                    headers[family].append(line)
            elif line:
                samples.setdefault(family, []).append(line)
    return "".join(f"{line}\n" for family in headers for line in (*headers[family], *samples.get(family, [])))
