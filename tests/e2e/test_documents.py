"""Documents in a whole installation: sent, found with their page, quoted, replaced, refused, forgotten."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.person import Meet, Person
from tests.support.documents import locked_pdf, pdf, scanned_pdf
from tests.support.installation import Installation

LEASE = [["Lease of the house in Rimouski", "The rent is 850 euros a month."], ["The deposit amounts to two rents."]]


@pytest.fixture
def ada(running: Installation, meet: Meet, request: pytest.FixtureRequest) -> Person:
    person: Person = meet(running, f"docs-{abs(hash(request.node.name)) % 10**8}")
    return person


def send(person: Person, name: str, content: bytes) -> httpx.Response:
    return person.http.post("/api/v1/documents", params={"name": name}, content=content)


def found(person: Person, question: str) -> list[dict[str, Any]]:
    answered = person.http.get("/api/v1/memories", params={"q": question, "k": 5})
    answered.raise_for_status()
    items: list[dict[str, Any]] = answered.json()["items"]
    return items


def test_a_document_is_found_with_its_name_and_page_as_soon_as_it_was_taken(ada: Person) -> None:
    sent = send(ada, "lease.pdf", pdf(LEASE))
    assert (sent.status_code, sent.json()["degraded"]) == (201, None)
    told = sent.json()["document"]
    assert (told["media_type"], told["pages"], told["passages"]) == ("application/pdf", 2, 2)
    best = found(ada, "How much is the deposit?")[0]
    assert (best["text"], best["title"], best["page"], best["kind"]) == (
        "The deposit amounts to two rents.",
        "lease.pdf",
        2,
        "passage",
    )


def test_the_same_again_changes_nothing_and_another_replaces_it(ada: Person) -> None:
    first = send(ada, "lease.pdf", pdf(LEASE)).json()["document"]
    again = send(ada, "lease.pdf", pdf(LEASE))
    assert (again.status_code, again.json()["changed"]) == (200, False)
    assert again.json()["document"] == first
    other = send(ada, "lease.pdf", b"The rent is 900 euros now.")
    assert other.status_code == 201
    assert [document["media_type"] for document in ada.http.get("/api/v1/documents").json()["documents"]] == [
        "text/plain"
    ]
    assert [item["text"] for item in found(ada, "What is the rent in euros?")] == ["The rent is 900 euros now."]


def test_a_forgotten_document_is_found_no_more(ada: Person) -> None:
    document = send(ada, "notes.md", b"# Bail\n\nLe loyer est de 850 euros.").json()["document"]
    assert found(ada, "combien est le loyer")[0]["text"] == "Bail\n\nLe loyer est de 850 euros."
    receipt = ada.http.delete(f"/api/v1/documents/{document['document_id']}")
    assert receipt.status_code == 200
    assert found(ada, "combien est le loyer") == []


def test_a_question_is_answered_from_a_document(ada: Person) -> None:
    send(ada, "lease.pdf", pdf(LEASE))
    answer = ada.say("How much is the deposit of the house?")
    assert "two rents" in answer.text
    assert "lease.pdf" in answer.text


@pytest.mark.parametrize(
    ("name", "content", "status", "code"),
    [
        ("scan.pdf", scanned_pdf(2), 422, "scanned_document"),
        ("locked.pdf", locked_pdf("secret"), 422, "document_damaged"),
        ("cut.pdf", pdf(LEASE)[:400], 422, "document_damaged"),
        ("photo.png", b"\x89PNG\r\n\x1a\n\0\0", 415, "unsupported_document"),
        ("blank.txt", b" \n ", 422, "invalid_request"),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_of_it_is_kept(
    ada: Person, name: str, content: bytes, status: int, code: str
) -> None:
    refused = send(ada, name, content)
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert ada.http.get("/api/v1/documents").json()["documents"] == []


def test_nobody_else_finds_it(running: Installation, ada: Person, meet: Meet) -> None:
    document = send(ada, "lease.pdf", pdf(LEASE)).json()["document"]
    other: Person = meet(running, "docs-somebody-else")
    assert found(other, "How much is the deposit?") == []
    assert other.http.get(f"/api/v1/documents/{document['document_id']}").status_code == 404
