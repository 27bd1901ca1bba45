"""An exported archive as it is sent: of a ZIP only the conversations, without the pictures that come with them."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from cli.errors import CommandError, Exit

_MEMBER = re.compile(r"(?:^|/)(?:conversations|mongars)[^/]*\.json$", re.IGNORECASE)


@contextmanager
def sendable(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The file to send, and its size. Raises CommandError when it can't be read."""
    with ExitStack() as stack:
        try:
            file: BinaryIO = stack.enter_context(path.open("rb"))
            if zipfile.is_zipfile(file):
                file = stack.enter_context(tempfile.TemporaryFile())
                _conversations_alone(path, file)
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise CommandError(
                f"{path} can't be read: {error}", "export it again, or unpack it", code=Exit.USAGE
            ) from None
        yield file, _rewound(file)


def _conversations_alone(path: Path, slim: BinaryIO) -> None:
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(slim, "w", zipfile.ZIP_DEFLATED) as chosen:
        for member in archive.infolist():
            if _MEMBER.search(member.filename):
                with archive.open(member) as found, chosen.open(member.filename, "w", force_zip64=True) as copy:
                    shutil.copyfileobj(found, copy)


def _rewound(file: BinaryIO) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size
