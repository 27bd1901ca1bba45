"""Writes each package's contract (AGENTS.md) from configs/agents/agents_config.json, and checks that it still holds."""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

CONFIG = "configs/agents/agents_config.json"
DOCUMENT = "AGENTS.md"
COMMAND = "python scripts/manage_agents.py"
OWN = ("libs", "services", "cli", "migrations", "bench", "scripts", "tests")
"""Top-level folders with code of ours."""

_PATH = re.compile(r"`([A-Za-z_.][\w.-]*(?:/[\w.-]+)+/?)`")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EarlierName(_Section):
    """A name of the earlier monGARS and the files that do its work now; none when nothing does yet."""

    name: str
    now: tuple[str, ...]
    note: str = ""


class Package(_Section):
    """What a package is for and what it may touch. ``may_import`` names modules of ours by their dotted path."""

    path: str
    title: str
    scope: str
    never: tuple[str, ...]
    may_import: tuple[str, ...]
    libraries: tuple[str, ...]
    configuration: str
    logging: str
    suites: tuple[str, ...]
    earlier_names: tuple[EarlierName, ...] = ()


class Configuration(_Section):
    """The whole of agents_config.json."""

    overview: str
    rules: tuple[str, ...]
    packages: tuple[Package, ...]


@dataclass(frozen=True)
class Fault:
    """Something in ``path`` that is not as its contract says."""

    path: str
    fault: str


@dataclass(frozen=True)
class Import:
    """One imported module, and the name taken from it (empty for ``import x``)."""

    module: str
    name: str


def imports_of(source: str) -> Iterator[Import]:
    """Every absolute import anywhere in ``source``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (Import(node.module, alias.name) for alias in node.names)


class Tree:
    """The repository below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def exists(self, path: str) -> bool:
        return (self.root / path).exists()

    def sources(self, package: str) -> list[Path]:
        """Its modules, relative to the root."""
        found = (self.root / package).rglob("*.py")
        return sorted(path.relative_to(self.root) for path in found if "__pycache__" not in path.parts)

    def module(self, dotted: str) -> Path | None:
        """The file of a module of ours."""
        base = Path(*dotted.split("."))
        candidates = (base.with_suffix(".py"), base / "__init__.py")
        return next((path for path in candidates if (self.root / path).is_file()), None)

    def imports(self, path: Path) -> list[Import]:
        return list(imports_of((self.root / path).read_text()))

    def resolve(self, found: Import) -> Path | None:
        """The file that an import of ours is about: the submodule, or where a package takes the name from."""
        if found.module.split(".")[0] not in OWN:
            return None
        if (submodule := self.module(f"{found.module}.{found.name}")) is not None and found.name:
            return submodule
        path = self.module(found.module)
        if path is not None and path.name == "__init__.py" and found.name:
            exported = next((i for i in self.imports(path) if i.name == found.name and i.module != found.module), None)
            return (exported and self.module(exported.module)) or path
        return path

    @cached_property
    def tests_of(self) -> dict[Path, list[Path]]:
        """Source file → the test files that import it."""
        tests: dict[Path, list[Path]] = {}
        for test in self.sources("tests"):
            if test.name.startswith("test_"):
                for source in {self.resolve(found) for found in self.imports(test)} - {None}:
                    assert source is not None
                    tests.setdefault(source, []).append(test)
        return tests


def _bullets(items: tuple[str, ...]) -> str:
    return "".join(f"- {item}\n" for item in items)


def _code(names: tuple[str, ...], none: str) -> str:
    return ", ".join(f"`{name}`" for name in names) or none


def _test_map(package: Package, tree: Tree) -> str:
    text = f"Suites: {_code(package.suites, 'none of its own')}.\n"
    sources = [s for s in tree.sources(package.path) if s.name not in ("__init__.py", "__main__.py")]
    sources = [s for s in sources if s.parts[0] not in ("tests", "bench")]
    tested = [source for source in sources if source in tree.tests_of]
    if tested:
        text += "\n| source | tests that import it |\n|---|---|\n"
        text += "".join(f"| `{s}` | {_code(tuple(map(str, tree.tests_of[s])), '')} |\n" for s in tested)
    untested = tuple(str(source) for source in sources if source not in tree.tests_of)
    if untested:
        text += f"\nReached through the suites alone: {_code(untested, '')}.\n"
    return text


def _earlier_table(names: tuple[EarlierName, ...]) -> str:
    rows = (f"| `{n.name}` | {_code(n.now, 'not carried over yet')}{': ' if n.note else ''}{n.note} |\n" for n in names)
    return "| earlier name | now |\n|---|---|\n" + "".join(rows)


_NOTICE = (
    f"> Generated from `{CONFIG}` by `scripts/manage_agents.py`. Change that file and run `{COMMAND} generate`;\n"
    f"> `{COMMAND} check` fails when this page has drifted, names a file that isn't there, or an import breaks it.\n"
)


def render(package: Package, tree: Tree) -> str:
    """The package's AGENTS.md."""
    parts = [
        f"# `{package.path}`: {package.title}\n\n{_NOTICE}",
        f"## Scope\n\n{package.scope}\n\n{_bullets(package.never)}",
        f"## What it may import\n\nOf ours: {_code(package.may_import, 'nothing')}.\n"
        f"Libraries: {_code(package.libraries, 'the standard library alone')}.\n",
        f"## Configuration\n\n{package.configuration}\n",
        f"## Logging\n\n{package.logging}\n",
        f"## Tests\n\n{_test_map(package, tree)}",
    ]
    if package.earlier_names:
        parts.append(f"## Where the earlier monGARS' names live\n\n{_earlier_table(package.earlier_names)}")
    return "\n".join(parts)


def render_overview(config: Configuration) -> str:
    """The root's AGENTS.md."""
    rows = "".join(f"| [`{p.path}`]({p.path}/{DOCUMENT}) | {p.title} |\n" for p in config.packages)
    earlier = [name for package in config.packages for name in package.earlier_names]
    earlier_table = _earlier_table(tuple(sorted(earlier, key=lambda name: name.name.lower())))
    return "\n".join(
        [
            f"# monGARS: how its parts are kept apart\n\n{_NOTICE}",
            f"{config.overview}\n\n{_bullets(config.rules)}",
            f"## Packages\n\n| package | what it is |\n|---|---|\n{rows}",
            f"## Where the earlier monGARS' names live\n\n{earlier_table}",
        ]
    )


def documents(config: Configuration, tree: Tree) -> dict[str, str]:
    """Path → text of every AGENTS.md."""
    pages = {f"{package.path}/{DOCUMENT}": render(package, tree) for package in config.packages}
    return {DOCUMENT: render_overview(config), **pages}


def _allowed(module: str, package: Package) -> bool:
    top = module.split(".")[0]
    if top in sys.stdlib_module_names or top in package.libraries:
        return True
    own = (package.path.replace("/", "."), *package.may_import)
    return any(module == name or module.startswith(name + ".") for name in own)


def _import_faults(package: Package, tree: Tree) -> Iterator[Fault]:
    for path in tree.sources(package.path):
        for found in tree.imports(path):
            module = f"{found.module}.{found.name}" if found.module in OWN else found.module
            if not _allowed(module, package):
                yield Fault(str(path), f"imports {module}, which the contract of {package.path} doesn't allow")


def _document_faults(path: str, text: str, tree: Tree) -> Iterator[Fault]:
    page = tree.root / path
    if not page.exists():
        yield Fault(path, "is missing")
    elif page.read_text() != text:
        yield Fault(path, "has drifted")
    for named in sorted(set(_PATH.findall(text))):
        if not tree.exists(named):
            yield Fault(path, f"names {named}, which isn't there")


def _unclaimed(config: Configuration, tree: Tree) -> Iterator[Fault]:
    claimed = {package.path for package in config.packages}
    packages = {path.parent.relative_to(tree.root) for path in (tree.root / "services").glob("*/__init__.py")}
    for folder in sorted(str(path) for path in packages):
        if folder not in claimed:
            yield Fault(folder, f"has no contract in {CONFIG}")
    for page in sorted(tree.root.glob(f"**/{DOCUMENT}")):
        relative = page.relative_to(tree.root)
        if relative.parts[0] in (*OWN, "configs", "docs", "deploy") and str(relative.parent) not in claimed:
            yield Fault(str(relative), "belongs to no package of the configuration")


def check(config: Configuration, tree: Tree) -> list[Fault]:
    """Everything that isn't as the contracts say."""
    absent = [Fault(package.path, "isn't there") for package in config.packages if not tree.exists(package.path)]
    if absent:
        return absent
    faults = [fault for path, text in documents(config, tree).items() for fault in _document_faults(path, text, tree)]
    for package in config.packages:
        faults += _import_faults(package, tree)
    return [*faults, *_unclaimed(config, tree)]


def generate(config: Configuration, tree: Tree) -> list[str]:
    """Writes what differs, and says what it wrote."""
    written = []
    for path, text in documents(config, tree).items():
        page = tree.root / path
        if not page.exists() or page.read_text() != text:
            page.write_text(text)
            written.append(path)
    return written


def read_config(root: Path) -> Configuration:
    """Raises ValidationError or FileNotFoundError."""
    return Configuration.model_validate_json((root / CONFIG).read_text())


def _report(faults: list[Fault], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"ok": not faults, "faults": [asdict(fault) for fault in faults]}, indent=2))
        return
    for fault in faults:
        print(f"{fault.path}: {fault.fault}")
    print(f"{len(faults)} faults; '{COMMAND} generate' mends drift" if faults else "every contract holds")


def main(arguments: list[str] | None = None) -> int:
    """0: well, 1: faults found, 2: no usable configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["generate", "check"])
    parser.add_argument("--json", action="store_true", help="print what check found as JSON")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    options = parser.parse_args(arguments)
    try:
        config = read_config(options.root)
    except (ValidationError, FileNotFoundError) as error:
        print(f"{CONFIG}: {error}", file=sys.stderr)
        return 2
    tree = Tree(options.root)
    if options.action == "generate":
        print("\n".join(generate(config, tree)) or "nothing to write")
        return 0
    faults = check(config, tree)
    _report(faults, as_json=options.json)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
