"""Writes ``docs/configuration.md`` from the settings in the code, or checks that it says what they say.

``python scripts/document_settings.py generate|check``
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from libs.shared.contracts.runtime_settings import RuntimeSettings  # noqa: E402 - after the path that finds it
from libs.shared.settings import ServiceSettings  # noqa: E402 - likewise

DOCUMENT = ROOT / "docs" / "configuration.md"
_HEAD = """# Configuration

Every setting is an environment variable, read once when a process starts, but for those that
[change while it runs](#while-it-runs). What has a default need not be set; what is wrong is refused at the start, by
name. This page is made from the code by `scripts/document_settings.py`.
"""
_MODELS = """An entry of `MONGARS_MODELS`, or of `models/models.json` in the state folder:

```json
[
  {"name": "phi", "backend": "llama_cpp", "path": "phi-4-mini.gguf", "context_tokens": 16384},
  {"name": "house", "backend": "openai", "url": "http://192.168.1.20:8000/v1", "api_key_file": "/etc/house.key"},
  {"name": "small", "backend": "transformers", "path": "small-model-folder"}
]
```

A `*.gguf` file or a Hugging Face folder in `models/` needs no entry: it is served under its own name.
"""
_RUNNING = """These are no environment variables: an admin sets them with `PATCH /api/v1/settings` and a body such as
`{"key": "hedging", "value": true}`. Each change is an entry of the ledger, is in force at once, and can be rolled back.
An operator's change waits until an admin approves it (`POST /api/v1/changes/ID/approve`).
"""


def services() -> dict[str, type[ServiceSettings]]:
    """Each service's settings, by the service's name."""
    found = {}
    for path in sorted((ROOT / "services").glob("*/settings.py")):
        module = importlib.import_module(f"services.{path.parent.name}.settings")
        found[path.parent.name] = next(
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, ServiceSettings) and value is not ServiceSettings
        )
    return found


def _default(info: FieldInfo) -> str:
    if info.default_factory is dict:
        return "—"
    if info.default_factory is not None:
        return "from the machine"
    if info.default is PydanticUndefined:
        return "required"
    if info.default in (None, "", ()):
        return "—"
    if isinstance(info.default, BaseModel):
        return "[memory.md](memory.md)"
    return f"`{info.default}`"


def _meaning(info: FieldInfo) -> str:
    return " ".join((info.description or "").replace("``", "`").replace("|", "\\|").split())


def _row(name: str, info: FieldInfo) -> str:
    return f"| `MONGARS_{name.upper()}` | {_default(info)} | {_meaning(info)} |"


def _table(fields: Iterable[tuple[str, FieldInfo]]) -> str:
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *(_row(*field) for field in fields)])


def document() -> str:
    """The whole page."""
    common = ServiceSettings.model_fields
    parts = [_HEAD, f"## Every service\n\n{_table(common.items())}\n"]
    for name, settings in services().items():
        own = [(field, info) for field, info in settings.model_fields.items() if field not in common]
        parts.append(f"## {name}\n\n{_table(own)}\n")
    parts.append(_running())
    parts.append(_models())
    return "\n".join(parts)


def _running() -> str:
    rows = [
        f"| `{name}` | {_default(info)} | {_meaning(info)} |" for name, info in RuntimeSettings.model_fields.items()
    ]
    head = ["| setting | default | meaning |", "|---|---|---|"]
    return f"## While it runs\n\n{_RUNNING}\n" + "\n".join([*head, *rows]) + "\n"


def _models() -> str:
    specification = importlib.import_module("services.inference.models").ModelSpec
    rows = [f"| `{name}` | {_default(info)} | {_meaning(info)} |" for name, info in specification.model_fields.items()]
    head = ["| field | default | meaning |", "|---|---|---|"]
    return f"## A model\n\n{_MODELS}\n" + "\n".join([*head, *rows]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("generate", "check"))
    if parser.parse_args().action == "generate":
        DOCUMENT.write_text(document())
        return 0
    if DOCUMENT.read_text() == document():
        return 0
    print("docs/configuration.md has drifted; run: python scripts/document_settings.py generate", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
