"""What Open WebUI and LibreChat write around a person's words, or send for their own sake. Pure.

A prompt is taken for a client's own only where it begins and ends as the client's template does, and nothing was said
before it: who writes "### Task: buy milk" is a person. What isn't recognised is answered and kept like anything else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from libs.shared.contracts.chat import ChatMessage
from libs.shared.text import language as language_of
from services.cognition.fence import without_fence

Errand = Literal["title", "tags", "follow_ups", "queries", "text", "prompt", "tool_calls", "emoji", "merge"]
"""What the client wants; most are named by the key of the JSON object that the prompt asks for."""
TITLE_WORDS = 5
MOST_QUERY = 120
"""Characters of a search query."""

_TASK = "### Task:\n"
_KEYS: tuple[Errand, ...] = ("title", "tags", "follow_ups", "queries", "text", "prompt")
_HISTORY = re.compile(r"<chat_history>\n(.*)\n</chat_history>", re.DOTALL)
_EMOJI = "Your task is to reflect the speaker's likely facial expression through a fitting emoji."
_MERGE = "You have been provided with a set of responses from various models to the latest user query:"
_TOOLS = ("Available Tools:", "Your task is to choose and return the correct tool(s) from the list of available tools")
_PLAIN_TITLES = (
    ("Create a concise, 3-5 word title with an emoji as a title for the chat history", "</chat_history>"),
    ("Provide a concise, 5-word-or-less title for the conversation, using title case conventions. Only return", ""),
    ("Please generate a concise, 5-word-or-less title for the conversation, using its same language", "||>Title:"),
    ("Please generate a concise title (max 40 characters) for a conversation that starts with:\nUser:", "Title:"),
)
_STRUCTURED_TITLE = (
    "Analyze this conversation and provide:\n1. The detected language of the conversation\n2. A concise title"
)
_USER_SAID = re.compile(
    r"^(?:\|\|>User:\n|(?:USER|User|Human): ?)(.*?)"
    r"(?=^(?:\|\|>(?:User|Response|Title):|(?:USER|User|Human|ASSISTANT|Assistant|AI): ?)|\Z)",
    re.DOTALL | re.MULTILINE,
)
_LANGUAGES = {"en": "English", "fr": "French"}
_WITH_SOURCES = "### Task:\nRespond to the user query using the provided context"
_QUERY = re.compile(r"<user_query>\n?(.*?)\n?</user_query>", re.DOTALL)


@dataclass(frozen=True)
class Chore:
    """A client's own prompt."""

    errand: Errand
    plain: bool
    """The answer is text, not a JSON object."""
    prompt: str


def own_words(text: str) -> str:
    """What the person said of a message that Open WebUI wrapped with the sources it found, or another installation with
    its memories."""
    text = without_fence(text)
    if not text.startswith(_WITH_SOURCES) or "</context>" not in text:
        return text
    after = text[text.rindex("</context>") + len("</context>") :]
    asked = _QUERY.search(after)
    return (asked[1] if asked else after).strip() or text


def chore_of(messages: Sequence[ChatMessage]) -> Chore | None:
    """The client's own prompt that the messages are; None: a person speaks."""
    system = [m.text for m in messages if m.role in ("system", "developer")]
    said = [m for m in messages if m.role not in ("system", "developer")]
    if not said and len(system) == 1:
        return _title(system[0].strip())
    if len(said) != 1 or said[0].role != "user":
        return None
    text = said[0].text.strip()
    if system and system[0].startswith(_TOOLS[0]) and _TOOLS[1] in system[0] and text.startswith("Query: "):
        return Chore("tool_calls", plain=False, prompt=text)
    return _task(text) or _title(text) or _other(text)


def _task(text: str) -> Chore | None:
    """Open WebUI's: a task, the key that the answer has, and the conversation at the end."""
    if not text.startswith(_TASK):
        return None
    instruction, history, _ = text.partition("<chat_history>\n")
    completing = "You are an autocompletion system." in instruction and text.endswith("#### Output:")
    if not history or not (completing or ("### Output:" in instruction and text.endswith("</chat_history>"))):
        return None
    errand = next((key for key in _KEYS if f'"{key}":' in instruction), None)
    return Chore(errand, plain=False, prompt=text) if errand else None


def _title(text: str) -> Chore | None:
    if text.startswith(_STRUCTURED_TITLE):
        return Chore("title", plain=False, prompt=text)
    plain = any(text.startswith(opening) and text.endswith(end) for opening, end in _PLAIN_TITLES)
    return Chore("title", plain=True, prompt=text) if plain else None


def _other(text: str) -> Chore | None:
    if text.startswith(_EMOJI) and text.endswith("```"):
        return Chore("emoji", plain=True, prompt=text)
    if text.startswith(_MERGE) and "\nResponses from models:" in text:
        return Chore("merge", plain=True, prompt=text)
    return None


def answer(chore: Chore) -> str | None:
    """What can be said without a language model, in the form that the client reads; None: nothing sensible."""
    said = _said(chore.prompt)
    first, last = (said[0], said[-1]) if said else ("", "")
    answers: dict[Errand, object] = {
        "title": " ".join(first.split()[:TITLE_WORDS]) or "Conversation",
        "tags": ["General"],
        "follow_ups": [],
        "queries": [last[:MOST_QUERY]] if last else [],
        "text": "",
        "prompt": last,
        "tool_calls": [],
        "emoji": "💬",
    }
    if chore.errand not in answers:
        return None
    told = answers[chore.errand]
    if chore.plain:
        return str(told)
    language = {"language": _LANGUAGES[language_of(first)]} if chore.prompt.startswith(_STRUCTURED_TITLE) else {}
    return json.dumps({**language, chore.errand: told}, ensure_ascii=False)


def _said(prompt: str) -> list[str]:
    """The user's messages in the conversation that the prompt carries, oldest first."""
    history = _HISTORY.search(prompt)
    found = (" ".join(said.split()).strip('"') for said in _USER_SAID.findall(history[1] if history else prompt))
    return [said for said in found if said]
