"""The release before this one, from the repository's history, and installations of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.installation import ROOT

COMMIT = "171b65b"
"""Version 0.1.0."""
VERSION = "0.1.0"


def unpack(folder: Path) -> Path:
    """The code of that release, with the record by which Python knows its version.

    Raises AssertionError where the history isn't there.
    """
    folder.mkdir(parents=True)
    archived = subprocess.run(["git", "-C", str(ROOT), "archive", COMMIT], capture_output=True, check=False)
    assert archived.returncode == 0, (
        f"the history lacks {COMMIT}, the release before this one (a shallow clone?): git fetch --unshallow"
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archived.stdout, check=True)
    subprocess.run([sys.executable, "-m", "compileall", "-q", "libs", "services", "cli"], cwd=folder, check=True)
    record = folder / f"mongars-{VERSION}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mongars\nVersion: {VERSION}\n")
    return folder
