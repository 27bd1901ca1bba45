"""The product's version, as the installed distribution says it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from cli.errors import CommandError


def product_version() -> str:
    """Raises CommandError when monGARS runs from a folder that was never installed."""
    try:
        return version("mongars")
    except PackageNotFoundError:
        raise CommandError("monGARS is not installed in this Python", "run: make install") from None
