"""Starts persistence: ``python -m services.persistence``."""

from __future__ import annotations

from libs.shared.quick_imports import imports_that_stay

with imports_that_stay():
    from libs.shared.contracts.base import Principal
    from libs.shared.service import run
    from services.persistence.service import wire
    from services.persistence.settings import get_settings

if __name__ == "__main__":
    run(Principal.PERSISTENCE, get_settings(), wire, description="Keeps conversations, accounts, settings and jobs")
