"""Reading Markdown: its blocks as CommonMark sees them, each as it was written."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from services.cognition.documents.blocks import Block, Contents
from services.cognition.documents.plain import decoded

_FRONT_MATTER = re.compile(r"\A---[^\S\n]*\n.*?\n---[^\S\n]*(?:\n|\Z)", re.DOTALL)


def read_markdown(content: bytes) -> Contents:
    """Headings without their marks; everything else by its source lines, so that a citation is what the file says."""
    text = decoded(content)
    front = _FRONT_MATTER.match(text)
    blocks = [Block(front[0].strip())] if front else []
    body = text[front.end() :] if front else text
    lines = body.split("\n")
    done = 0
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    for number, token in enumerate(tokens):
        if token.level or token.map is None or token.nesting < 0:
            continue
        first, last = token.map
        blocks += _between(lines, done, first)
        blocks += _heading(token, tokens[number + 1]) if token.type == "heading_open" else _between(lines, first, last)
        done = max(done, last)
    return Contents((*blocks, *_between(lines, done, len(lines))))


def _heading(token: Token, inline: Token) -> list[Block]:
    return [Block(inline.content, level=int(token.tag[1:]))] if inline.content.strip() else []


def _between(lines: list[str], first: int, last: int) -> list[Block]:
    """Also what no block holds, such as where links lead."""
    text = "\n".join(lines[first:last]).strip("\n")
    return [Block(text)] if text.strip() else []
