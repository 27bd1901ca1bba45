"""Reads one document in a process of its own, on a short leash: ``python -m services.cognition.documents.reader_process
KIND PARENT MEMORY_MIB CPU_S`` takes the file on standard input and answers JSON on standard output.

Parsers of other people's files are where surprises come from: whatever one does here, the service goes on. What it
reads appears nowhere but in the answer.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from libs.shared.errors import InvalidRequest, ServiceError, TooLarge
from libs.shared.parent import end_with
from services.cognition.documents.blocks import Contents
from services.cognition.documents.kinds import Kind, recognise

NICENESS = 10
"""Turns go first."""
OPEN_FILES = 64
DEEPEST_RECURSION = 400
"""Honest documents nest a few levels; more would end in the processor's stack."""


def leash(parent: int, memory_mib: int, cpu_s: int) -> None:
    """From now on this process ends with its parent, and takes no more memory, time or files than that."""
    end_with(parent)
    os.nice(NICENESS)
    sys.setrecursionlimit(DEEPEST_RECURSION)
    for what, most in (
        (resource.RLIMIT_AS, memory_mib * 1024 * 1024),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        resource.setrlimit(what, (most, most))


def read(content: bytes, if_text: Kind) -> tuple[Kind, Contents]:
    """Raises as AddDocument says, and InvalidRequest when there is no text in it."""
    kind = recognise(content, if_text)
    if kind is Kind.PDF:
        from services.cognition.documents.pdf import read_pdf

        contents = read_pdf(content)
    elif kind is Kind.DOCX:
        from services.cognition.documents.docx import read_docx

        contents = read_docx(content)
    elif kind is Kind.MARKDOWN:
        from services.cognition.documents.markdown import read_markdown

        contents = read_markdown(content)
    else:
        from services.cognition.documents.plain import read_text

        contents = read_text(content)
    if not any(any(c.isalnum() for c in block.text) for block in contents.blocks):
        raise InvalidRequest("there is no text in the document", errors=[])
    return kind, contents


def answer(content: bytes, if_text: Kind) -> dict[str, object]:
    """The document in passages, or the refusal with its code."""
    from services.cognition.documents.passages import cut

    try:
        kind, contents = read(content, if_text)
        passages = cut(contents.blocks)
    except ServiceError as error:
        return {"refused": error.code, "detail": error.detail}
    except MemoryError:
        refusal = TooLarge("the document takes more memory to read than it may have; split it")
        return {"refused": refusal.code, "detail": refusal.detail}
    return {"kind": kind, "pages": contents.pages, "passages": [[p.text, p.page] for p in passages]}


def main() -> None:
    kind, parent, memory_mib, cpu_s = sys.argv[1:]
    leash(int(parent), int(memory_mib), int(cpu_s))
    told = answer(sys.stdin.buffer.read(), Kind(kind))
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)  # taking a large document's objects apart would cost time and serve nobody


if __name__ == "__main__":
    main()
