"""``mongars support-bundle``: one file to send to whoever helps."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import time
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError, Exit
from cli.options import JsonOption, StateOption, answer, chosen_folder, line
from cli.settings import get_settings


def support_bundle(
    state: StateOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; else in this folder.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Don't ask before writing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write what a helper needs to see: findings, versions, settings, state, logs, metrics of this installation.

    Names, addresses and ids are pseudonyms that hold within this one file; what people said, keys and tokens are not
    in it. It is shown before it is written, and sent to nobody.
    """
    from cli.bundle.contents import gathered

    texts = gathered(chosen_folder(state), get_settings().environment)
    target = output or Path(f"mongars-support-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    if not as_json:
        line("In it:")
        for name, text in texts.items():
            line(f"  {name}  ({len(text.encode())} bytes)")
        if not yes and sys.stdin.isatty() and not typer.confirm(f"Write {target}?", default=True):
            raise CommandError("nothing was written", code=Exit.REFUSED)
    _write(target, texts)
    if as_json:
        answer({"file": str(target), "contents": {name: len(text.encode()) for name, text in texts.items()}})
    else:
        line(f"Written: {target}. Look through it before you send it.")


def _write(target: Path, texts: dict[str, str]) -> None:
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CommandError(f"{target} is there already", "name another file with --output FILE") from None
    except OSError as error:
        raise CommandError(f"{target} can't be written ({error.strerror})", "name another with --output FILE") from None
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in texts.items():
            content = text.encode()
            entry = tarfile.TarInfo(f"mongars-support/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(content))
