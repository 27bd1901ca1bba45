"""``mongars embedders list`` tells what was trained here from the rest: its run, its measurements, who refuses it."""

from __future__ import annotations

from typing import Any

from cli.training.encoders import cells, rows
from libs.shared.artefacts.standing import Standing
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.telemetry import ServedModel


def served(name: str, version: str) -> ServedModel:
    return ServedModel(
        name=name,
        backend="onnx",
        kind="embed",
        context_tokens=64,
        bytes_per_token=4.5,
        dimensions=32,
        embedder=f"{name}@{version}",
    )


def kept(name: str, version: str, **about: Any) -> Standing:
    told = {"configuration": {"version": version, "run": "r1", "dimensions": 32, "max_tokens": 64}}
    return Standing(name=name, model=f"{name}@{version}", kind="encoder", base="tiny", **(told | about))


def test_one_that_was_trained_says_from_which_run_and_how_it_was_judged() -> None:
    one = kept("tiny-1", "a1", metrics={"decision": "accepted: better", "accepted": 1.0}, nodes=("pi",))
    settings = RuntimeSettings(embedder="tiny-1@a1")
    other, own = rows([served("e5", "b2"), served("tiny-1", "a1")], settings, {"tiny-1": one})
    assert (other["trained"], other["used"], own["used"]) == (None, False, True)
    assert own["trained"]["signed_by"] == "this installation"
    assert cells(other)[5:] == ("-", "-")
    told = cells(own)
    assert (told[0], *told[5:]) == ("tiny-1", "run r1, of tiny", "accepted: better")


def test_one_that_no_node_has_is_listed_with_the_reason() -> None:
    settings = RuntimeSettings()
    coming, refused = rows([], settings, {"a": kept("a", "1"), "b": kept("b", "2", refused={"pi": "artefact_corrupt"})})
    assert cells(coming)[-1] == "not measured; no node has it yet"
    assert cells(refused)[-1] == "not measured; pi: artefact_corrupt"
    assert not coming["served"]


def test_one_of_the_same_name_that_somebody_added_is_not_taken_for_it() -> None:
    (row,) = rows([served("a", "1")], RuntimeSettings(), {"a": kept("a", "2")})
    assert row["trained"] is None
