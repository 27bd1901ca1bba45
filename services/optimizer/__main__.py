"""Starts the optimizer: ``python -m services.optimizer``."""

from __future__ import annotations

from libs.shared.quick_imports import imports_that_stay

with imports_that_stay():
    from libs.shared.contracts.base import Principal
    from libs.shared.service import run
    from services.optimizer.service import wire
    from services.optimizer.settings import get_settings

if __name__ == "__main__":
    run(Principal.OPTIMIZER, get_settings(), wire, description="Improves the installation while nobody needs it")
