"""Writes ``docs/errors.md`` from the codes in the code, or checks that it says what they say.

``python scripts/document_errors.py generate|check``
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cli.doctor.findings import KINDS  # noqa: E402 - after the path that finds it
from cli.errors import Exit  # noqa: E402
from libs.shared.errors import ServiceError  # noqa: E402
from scripts.error_remedies import REMEDIES  # noqa: E402

DOCUMENT = ROOT / "docs" / "errors.md"
_HEAD = """# Errors

Every code is stable: programs may rely on it. Over HTTP it stands in the field `code` of a problem document (RFC 9457),
under `/v1` in `error.code`, as OpenAI's API has it. This page is made from the code by `scripts/document_errors.py`.

## Of the HTTP surface and the bus
"""
_EXITS = {
    Exit.FAILED: "something failed; what and the remedy are printed",
    Exit.USAGE: "the command line or a setting can't be understood",
    Exit.NOT_RUNNING: "there is no installation, or it does not run",
    Exit.NOT_READY: "it runs, and is not ready",
    Exit.REFUSED: "the installation answered, and said no",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
}


def declared() -> dict[str, int]:
    """Every code that any module declares, with its HTTP status."""
    for path in sorted((ROOT / "services").glob("*/errors.py")):
        importlib.import_module(f"services.{path.parent.name}.errors")
    return ServiceError.codes()


def document() -> str:
    """The whole page. Raises KeyError for a code without a remedy."""
    errors = [_row(f"`{code}`", str(status), *REMEDIES[code]) for code, status in declared().items()]
    exits = [_row(str(int(code)), _EXITS[code]) for code in Exit]
    findings = [
        _row(f"`{code}`", kind.severity.value, kind.meaning, kind.remedy, "yes" if kind.fixable else "")
        for code, kind in sorted(KINDS.items())
    ]
    head = ("code", "status", "meaning", "remedy")
    return "\n".join(
        [
            _HEAD,
            *_table(head, errors),
            "\n## Of the `mongars` command: exit codes\n",
            *_table(("code", "meaning"), [_row("0", "it went well"), *exits]),
            "\n`mongars doctor` exits with 0 where nothing is wrong, 1 where something is, 2 where it could not look.",
            "\n## Of `mongars doctor`\n",
            "What `--fix` mends is marked. It never touches data, keys or models.\n",
            *_table(("code", "severity", "meaning", "remedy", "`--fix`"), findings),
            "",
        ]
    )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(titles: tuple[str, ...], rows: list[str]) -> Iterator[str]:
    yield _row(*titles)
    yield "|" + "---|" * len(titles)
    yield from rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("generate", "check"))
    if parser.parse_args().action == "generate":
        DOCUMENT.write_text(document())
        return 0
    missing = sorted(set(declared()) - set(REMEDIES))
    if missing:
        print(
            f"codes without a meaning and a remedy in scripts/error_remedies.py: {', '.join(missing)}", file=sys.stderr
        )
        return 1
    if DOCUMENT.exists() and DOCUMENT.read_text() == document():
        return 0
    print("docs/errors.md has drifted; run: python scripts/document_errors.py generate", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
