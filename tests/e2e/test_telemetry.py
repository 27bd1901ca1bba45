"""What an installation tells of itself: one trace a message, metrics of every service, and nobody's words."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.person import Meet, log_in_first
from tests.support.collector import Collector, SeenSpan, collector
from tests.support.installation import Installation, installation
from tests.support.personal_data import CANARIES, assert_nothing_personal

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SERVICES = {"api", "cognition", "persistence", "scheduler", "inference"}


@pytest.fixture(scope="module")
def traces() -> Iterator[Collector]:
    with collector() as seen:
        yield seen


@pytest.fixture(scope="module")
def traced(traces: Collector, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with a language model that sends its traces, at the most talkative log level."""
    spec = {"name": "tiny", "backend": "llama_cpp", "path": str(models / "tiny.gguf")}
    environment = {
        "MONGARS_MODELS": json.dumps([spec]),
        "MONGARS_OTLP_ENDPOINT": traces.url,
        "MONGARS_LOG_LEVEL": "DEBUG",
    }
    with installation(tmp_path_factory.mktemp("traced") / "state", environment) as made:
        made.up()
        yield made


def served(span: SeenSpan) -> str:
    return span.service.removeprefix("mongars-")


@pytest.mark.torch
def test_one_trace_leads_from_http_to_the_model_and_back(traced: Installation, traces: Collector, meet: Meet) -> None:
    person = meet(traced, "traced")
    assert traced.wait_until(lambda: "tiny" in [m["id"] for m in person.models()], 60)
    person.http.headers["traceparent"] = f"00-{TRACE}-00f067aa0ba902b7-01"
    person.say("What is the sea?", model="tiny")

    def roots() -> list[SeenSpan]:
        ids = {span.span_id for span in traces.trace(TRACE)}
        return [span for span in traces.trace(TRACE) if span.parent_id not in ids]

    def whole() -> bool:
        return {served(s) for s in traces.trace(TRACE)} >= SERVICES and [served(s) for s in roots()] == ["api"]

    assert traced.wait_until(whole, 30), [(s.service, s.name, s.parent_id) for s in traces.trace(TRACE)]
    assert roots()[0].parent_id == "00f067aa0ba902b7"


@pytest.mark.torch
def test_metrics_of_every_service_are_gathered_for_an_operator(traced: Installation, meet: Meet) -> None:
    person = meet(traced, "measured")
    person.say("Good morning.")
    assert person.http.get("/metrics").status_code == 403
    assert httpx.get(f"{traced.url}/metrics", timeout=10).status_code == 401

    assert traced.admin is not None
    with log_in_first(traced.url, traced.admin["name"], traced.admin["one_time_password"]) as admin:
        text = admin.get("/metrics").text

    for name in ("gen_ai_client_operation_duration", "llm_ray_requests", "scheduler_decisions", "cache_hits"):
        assert name in text, name
    for service in SERVICES:
        assert f'service="{service}"' in text or f'service_name="{service}"' in text, service
    assert_nothing_personal(text)


@pytest.mark.torch
def test_names_addresses_and_tokens_never_reach_logs_traces_or_errors(
    traced: Installation, traces: Collector, meet: Meet
) -> None:
    person = meet(traced, "watched")
    told = (
        f"I am {CANARIES.name}, write to {CANARIES.email} or call {CANARIES.phone}. My key is {CANARIES.api_key}, "
        f"my password {CANARIES.password}, my machine {CANARIES.ipv4}. I study the {CANARIES.word} reaction."
    )
    errors: list[str] = []
    person.say(told)
    person.say("Who am I?", explain=True)
    for bad in (
        {"messages": told},
        {"messages": [{"role": "user", "content": told}], "model": CANARIES.word},
        {"messages": [{"role": "user", "content": told}], "temperature": CANARIES.email},
    ):
        errors.append(person.http.post("/v1/chat/completions", json=bad).text)
    for token in (CANARIES.api_key, CANARIES.jwt):
        refused = httpx.get(f"{traced.url}/v1/models", headers={"authorization": f"Bearer {token}"}, timeout=10)
        errors.append(refused.text)
    form = {"username": CANARIES.email, "password": CANARIES.password}
    errors.append(httpx.post(f"{traced.url}/api/v1/auth/token", data=form, timeout=30).text)
    errors.append(httpx.post(f"{traced.url}/api/v1/auth/refresh", json={"refresh_token": CANARIES.refresh_token}).text)
    traced.kill_and_wait("cognition")
    traced.kill_and_wait("persistence")
    person.say("Are you there again?")

    for path in sorted((traced.state / "logs").iterdir()):
        assert_nothing_personal(path.read_text(errors="replace"))
    assert_nothing_personal("\n".join(f"{span.name} {span.attributes}" for span in traces.spans()))
    assert_nothing_personal("\n".join(errors))


@pytest.mark.torch
def test_of_the_test__what_was_said_would_be_found_where_it_is_not_sealed(traced: Installation, meet: Meet) -> None:
    answered = meet(traced, "again").say(f"Remember the {CANARIES.word} reaction.", explain=True)
    with pytest.raises(AssertionError, match="word"):
        assert_nothing_personal(json.dumps(answered.body))


@pytest.mark.torch
def test_no_word_lies_readable_in_the_state_folder(traced: Installation, meet: Meet) -> None:
    person = meet(traced, "sealed")
    person.say(f"The {CANARIES.word} reaction turns yellow.")
    found = [path for path in traced.state.rglob("*") if path.is_file() and CANARIES.word.encode() in path.read_bytes()]
    assert found == []


def test_readiness_names_the_part_that_hangs_and_the_rest_goes_on(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made = make_installation()
    made.up()
    made.wait_whole()
    person = meet(made, "waiting")
    pid = made.pid("scheduler")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert made.wait_until(lambda: not made.ready(), 10)
        answered = httpx.get(f"{made.url}/readyz", timeout=10)
        said = person.say("Is anybody there?")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert answered.status_code == 503
    assert [name for name, state in answered.json()["dependencies"].items() if not state["ok"]] == ["scheduler"]
    assert said.degraded == "no-model"
    made.wait_ready(10)
