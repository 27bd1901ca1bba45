"""Starts the inference service of one node."""

from __future__ import annotations

from libs.shared.quick_imports import imports_that_stay

with imports_that_stay():
    from libs.shared.contracts.base import Principal
    from libs.shared.service import run
    from services.inference.service import wire
    from services.inference.settings import get_settings

if __name__ == "__main__":
    run(
        Principal.INFERENCE,
        get_settings(),
        wire,
        description="Generates and embeds on this node, and tells of its load",
    )
