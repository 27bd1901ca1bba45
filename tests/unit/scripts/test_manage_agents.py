"""A contract that has drifted, names what isn't there, or is broken by an import, is found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts import manage_agents
from scripts.manage_agents import CONFIG, Import, Tree, imports_of, main, read_config

ROOT = Path(__file__).parents[3]


def package(path: str, **changes: Any) -> dict[str, Any]:
    return {
        "path": path,
        "title": "a part",
        "scope": "It does its part.",
        "never": ["It never does another's."],
        "may_import": [],
        "libraries": ["pydantic"],
        "configuration": "None.",
        "logging": "None.",
        "suites": ["tests/unit"],
        **changes,
    }


class Repository:
    """A small repository with one library and one service."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("scripts/manage_agents.py", "")
        self.write("libs/shared/__init__.py", "")
        self.write("libs/shared/words.py", "import json\nfrom pydantic import BaseModel\n")
        self.write("services/__init__.py", "")
        self.write("services/desk/__init__.py", "from services.desk.clerk import Clerk\n")
        self.write("services/desk/clerk.py", "from libs.shared import words\n\nclass Clerk: ...\n")
        self.write("services/desk/unseen.py", "")
        self.write("tests/unit/test_clerk.py", "from services.desk import Clerk\n")
        self.write("tests/unit/test_words.py", "def test() -> None:\n    import libs.shared.words\n")
        self.configure()

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def configure(self, **desk: Any) -> None:
        desk_package = package("services/desk", may_import=["libs.shared"], **desk)
        packages = [package("libs/shared"), desk_package]
        self.write(CONFIG, json.dumps({"overview": "Two parts.", "rules": [], "packages": packages}))

    def faults(self) -> list[tuple[str, str]]:
        found = manage_agents.check(read_config(self.root), Tree(self.root))
        return [(fault.path, fault.fault) for fault in found]

    def generate(self) -> list[str]:
        return manage_agents.generate(read_config(self.root), Tree(self.root))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path)
    made.generate()
    return made


def test_what_was_just_generated_holds(repository: Repository) -> None:
    assert repository.faults() == []
    assert repository.generate() == []


def test_every_source_is_mapped_to_the_tests_that_import_it(repository: Repository) -> None:
    desk = (repository.root / "services/desk/AGENTS.md").read_text()
    assert "| `services/desk/clerk.py` | `tests/unit/test_clerk.py` |" in desk
    assert "Reached through the suites alone: `services/desk/unseen.py`." in desk
    shared = (repository.root / "libs/shared/AGENTS.md").read_text()
    assert "| `libs/shared/words.py` | `tests/unit/test_words.py` |" in shared


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda r: r.write("services/desk/AGENTS.md", "edited"), ("services/desk/AGENTS.md", "has drifted")),
        (lambda r: (r.root / "libs/shared/AGENTS.md").unlink(), ("libs/shared/AGENTS.md", "is missing")),
        (lambda r: r.write("services/desk/new.py", ""), ("services/desk/AGENTS.md", "has drifted")),
        (
            lambda r: r.write("services/desk/clerk.py", "import ray"),
            ("services/desk/clerk.py", "imports ray, which the contract of services/desk doesn't allow"),
        ),
        (
            lambda r: r.write("libs/shared/words.py", "def f():\n    from services.desk import clerk"),
            ("libs/shared/words.py", "imports services.desk, which the contract of libs/shared doesn't allow"),
        ),
        (
            lambda r: r.write("services/other/__init__.py", ""),
            ("services/other", f"has no contract in {CONFIG}"),
        ),
        (
            lambda r: r.write("services/desk/routes/AGENTS.md", ""),
            ("services/desk/routes/AGENTS.md", "belongs to no package of the configuration"),
        ),
    ],
)
def test_a_broken_contract_is_found(
    repository: Repository, change: Callable[[Repository], object], fault: tuple[str, str]
) -> None:
    change(repository)
    assert fault in repository.faults()


@pytest.mark.parametrize(
    "where",
    [
        {"suites": ["tests/gone"]},
        {"scope": "It reads `tests/gone`."},
        {"earlier_names": [{"name": "Old", "now": ["tests/gone"]}]},
    ],
)
def test_a_file_that_is_not_there_is_found_wherever_it_is_named(repository: Repository, where: dict[str, Any]) -> None:
    repository.configure(**where)
    repository.generate()
    assert ("services/desk/AGENTS.md", "names tests/gone, which isn't there") in repository.faults()


def test_an_earlier_name_is_told_with_its_place_and_once_more_in_the_overview(repository: Repository) -> None:
    names = [{"name": "Old", "now": ["services/desk/clerk.py"]}, {"name": "Lost", "now": []}]
    repository.configure(earlier_names=names)
    assert repository.generate() == ["AGENTS.md", "services/desk/AGENTS.md"]
    for page in ("AGENTS.md", "services/desk/AGENTS.md"):
        text = (repository.root / page).read_text()
        assert "| `Old` | `services/desk/clerk.py` |" in text
        assert "| `Lost` | not carried over yet |" in text


def test_a_package_that_is_gone_is_a_fault_and_not_a_crash(repository: Repository) -> None:
    (repository.root / "services/desk").rename(repository.root / "services/bureau")
    assert repository.faults() == [("services/desk", "isn't there")]


def test_imports_are_found_wherever_they_stand() -> None:
    source = "import a.b\nfrom c import d as e\ndef f():\n    import g\nfrom . import h\n"
    assert list(imports_of(source)) == [Import("a.b", ""), Import("c", "d"), Import("g", "")]


def test_the_command_says_by_its_exit_code_and_as_json_what_it_found(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(repository.root)]
    assert main(["check", "--json", *root]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "faults": []}
    repository.write("AGENTS.md", "edited")
    assert main(["check", "--json", *root]) == 1
    fault = {"path": "AGENTS.md", "fault": "has drifted"}
    assert json.loads(capsys.readouterr().out) == {"ok": False, "faults": [fault]}
    assert main(["generate", *root]) == 0
    assert main(["check", *root]) == 0
    repository.write(CONFIG, '{"packages": [], "surprise": 1}')
    assert main(["check", *root]) == 2
    assert "surprise" in capsys.readouterr().err


def test_the_contracts_of_this_repository_are_complete() -> None:
    config = read_config(ROOT)
    assert {"libs/shared", "cli", "migrations", "tests", "bench"} <= {p.path for p in config.packages}
    earlier = {name.name for p in config.packages for name in p.earlier_names}
    assert {"PersistenceRepository", "hippocampus", "caching", "LLMIntegration", "Hippocampus.store"} <= earlier


def test_of_the_test__a_check_that_compares_nothing_is_noticed(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manage_agents, "_document_faults", lambda path, text, tree: iter(()))
    with pytest.raises(AssertionError):
        test_a_broken_contract_is_found(
            repository, lambda r: r.write("AGENTS.md", "edited"), ("AGENTS.md", "has drifted")
        )
