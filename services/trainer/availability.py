"""Whether this machine has the libraries that training needs; the service itself imports none of them."""

from __future__ import annotations

from libs.shared.training_libraries import REMEDY, missing_libraries


def lacking() -> str | None:
    """Why nothing can be trained here, and what to do about it; None: it can."""
    missing = missing_libraries()
    return f"{', '.join(missing)} can't be found; install what training needs with: {REMEDY}" if missing else None
