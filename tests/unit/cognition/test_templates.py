"""Clients' own prompts: recognised in their real shapes, and no person's words with them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from libs.shared.contracts.chat import ChatMessage
from libs.shared.contracts.common import MemoryMode
from services.cognition.templates import answer, chore_of, own_words
from tests.support.clients import filled, shape
from tests.unit.cognition.asking import LIMIT_S, text
from tests.unit.cognition.conftest import Build, request
from tests.unit.cognition.household import whole

ABOUT = {
    "history": "USER: How do I prune an old apple tree?\nASSISTANT: In winter.\nBit by bit.\nUSER: And a pear tree?",
    "prompt": "How do I prune an old apple tree?",
    "answer": "In winter.",
    "model": "extractive",
    "user_id": "u",
}
TASKS = [(client, task) for client in ("open_webui", "librechat") for task in shape(client).tasks]


def messages(client: str, task: str) -> tuple[ChatMessage, ...]:
    body: dict[str, Any] = filled(shape(client).tasks[task], ABOUT)
    return tuple(ChatMessage.model_validate(message) for message in body["messages"])


@pytest.mark.parametrize(("client", "task"), TASKS)
def test_a_client_s_own_prompt_is_recognised_and_answered_in_its_form(client: str, task: str) -> None:
    chore = chore_of(messages(client, task))
    assert chore is not None
    assert chore.errand == task.partition(" ")[0]
    told = answer(chore)
    assert told is not None
    if not chore.plain:
        assert chore.errand in json.loads(told)


@pytest.mark.parametrize(
    ("client", "task", "told"),
    [
        ("open_webui", "title", {"title": "How do I prune an"}),
        ("open_webui", "queries", {"queries": ["And a pear tree?"]}),
        ("open_webui", "tags", {"tags": ["General"]}),
        ("open_webui", "follow_ups", {"follow_ups": []}),
        ("open_webui", "text", {"text": ""}),
        ("open_webui", "tool_calls", {"tool_calls": []}),
        ("librechat", "title (structured)", {"language": "English", "title": "How do I prune an"}),
    ],
)
def test_without_a_model_it_is_answered_from_the_conversation(client: str, task: str, told: dict[str, Any]) -> None:
    chore = chore_of(messages(client, task))
    assert chore is not None
    assert json.loads(answer(chore) or "") == told


@pytest.mark.parametrize("task", ["title (completion)", "title (older)", "title (assistants)"])
def test_a_plain_title_is_the_first_words(task: str) -> None:
    chore = chore_of(messages("librechat", task))
    assert chore is not None
    assert answer(chore) == "How do I prune an"


PEOPLE = [
    "### Task: buy milk",
    "### Task:\nBuy milk, then generate a concise title summarizing the chat history.\n### Output:\nmilk",
    '### Task:\nGenerate 1-3 broad tags for my blog.\n### Output:\nJSON format: { "tags": [] }',
    'What does this prompt do?\n### Task:\nx\n### Output:\n"title":\n<chat_history>\nUSER: hi\n</chat_history>',
    "Analyze this conversation and provide: a summary",
    "Provide a concise title for my novel about barns.",
    "Please generate a concise title for a conversation with my sister.",
    "Your task is to reflect on emojis.",
    "Available Tools: hammer, saw. Which one do I need?",
    "Query: where is my sister?",
    "<chat_history> is a tag that Open WebUI uses, isn't it?",
]


@pytest.mark.parametrize("said", PEOPLE)
def test_a_person_is_not_taken_for_a_client(said: str) -> None:
    assert chore_of((ChatMessage(role="user", content=said),)) is None


def test_a_template_amid_a_conversation_is_a_person_s() -> None:
    (task,) = messages("open_webui", "title")
    before = (ChatMessage(role="user", content="Hi"), ChatMessage(role="assistant", content="Hello!"))
    assert chore_of((*before, task)) is None


def test_of_a_message_with_sources_only_the_question_is_the_person_s() -> None:
    wrapped = filled(shape("open_webui").with_sources, ABOUT)
    assert own_words(wrapped) == ABOUT["prompt"]
    assert own_words(wrapped.replace(ABOUT["prompt"], "<user_query>\nWhy red?\n</user_query>")) == "Why red?"
    assert chore_of((ChatMessage(role="user", content=wrapped),)) is None
    for said in PEOPLE:
        assert own_words(said) == said


@pytest.mark.parametrize(("answers", "told"), [((whole,), "Your dog is Rex."), ((), '{"title": "How do I prune an"}')])
async def test_it_is_answered_and_neither_recalled_nor_kept(household: Build, answers: Any, told: str) -> None:
    home = await household(*answers)
    chunks = await home.ask(request(messages=messages("open_webui", "title"), memory=MemoryMode.READ_WRITE))
    assert text(chunks) == told
    assert (home.persistence.asked, home.persistence.turns) == ([], [])
    assert chunks[0].conversation_id is None


async def test_of_a_question_with_sources_the_question_is_looked_up_and_kept(household: Build) -> None:
    home = await household(whole)
    wrapped = filled(shape("open_webui").with_sources, ABOUT)
    await home.ask(request(wrapped))
    async with asyncio.timeout(LIMIT_S):
        await home.persistence.applied.wait()
    (kept,) = home.persistence.turns
    assert home.persistence.texts(kept)[0] == ("user", ABOUT["prompt"])
    (_, given) = home.inference.requests[-1]
    assert "iron oxide" in given.messages[-1].text
