"""Documents over HTTP: as a body or in a form, bounded, and named."""

from __future__ import annotations

from typing import Any

import pytest

from libs.shared.contracts import documents
from services.api.routes import documents as routes
from tests.unit.api.house import Api

PATH = "/api/v1/documents"


async def add(api: Api, **how: Any) -> Any:
    return await api.client.post(PATH, headers=api.key(), **how)


async def test_a_document_comes_as_a_body_or_in_a_form(api: Api) -> None:
    body = await add(api, params={"name": "a/été.md"}, content="# Été".encode())
    assert (body.status_code, body.json()["document"]["name"], body.json()["changed"]) == (201, "a/été.md", True)
    form = await add(api, files={"file": ("b.pdf", b"%PDF-1.7", "application/pdf")}, data={"comment": "x" * 100})
    assert (form.status_code, form.json()["document"]["name"]) == (201, "b.pdf")
    asked = api.house.told(documents.AddDocument)
    assert [(a.name, a.media_type, a.content) for a in asked] == [
        ("a/été.md", None, "# Été".encode()),
        ("b.pdf", "application/pdf", b"%PDF-1.7"),
    ]


async def test_the_same_document_again_is_no_news(api: Api) -> None:
    for status in (201, 200):
        assert (await add(api, params={"name": "a.txt"}, content=b"words")).status_code == status


@pytest.mark.parametrize("name", [None, "", "  ", "a\nb.md", "x" * 600])
async def test_a_document_needs_a_name(api: Api, name: str | None) -> None:
    answer = await add(api, params={"name": name} if name is not None else {}, content=b"words")
    assert answer.status_code in (400, 422)
    assert api.house.told(documents.AddDocument) == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x", b"no form at all"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A" * 100_000 + b": b\r\n\r\nc\r\n--x--\r\n"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=" + "x" * 400, b"--x--"),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused(api: Api, kind: str, body: bytes) -> None:
    answer = await api.client.post(f"{PATH}?name=a", content=body, headers={**api.key(), "content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


async def test_a_large_document_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "LARGEST_DOCUMENT", 1000)
    assert (await add(api, params={"name": "a.txt"}, content=b"x" * 1000)).status_code == 201
    refused = await add(api, params={"name": "a.txt"}, content=b"x" * 1001)
    assert (refused.status_code, refused.json()["limit_bytes"]) == (413, 1000)


async def test_what_is_not_read_is_told_in_the_reader_s_words(api: Api) -> None:
    refused = await add(api, params={"name": "a.out"}, content=b"\x7fELF")
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_document")


async def test_documents_are_listed_read_and_forgotten(api: Api) -> None:
    made = (await add(api, params={"name": "a.txt"}, content=b"words")).json()["document"]
    assert (await api.client.get(PATH, headers=api.key())).json()["documents"] == [made]
    one = f"{PATH}/{made['document_id']}"
    assert (await api.client.get(one, headers=api.key())).json() == made
    assert (await api.client.delete(one, headers=api.key())).json()["scope"] == "document"
    missing = await api.client.get(f"{PATH}/other", headers=api.key())
    assert (missing.status_code, missing.json()["code"]) == (404, "document_not_found")
