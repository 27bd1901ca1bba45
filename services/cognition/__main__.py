"""Starts cognition: ``python -m services.cognition``."""

from __future__ import annotations

from libs.shared.quick_imports import imports_that_stay

with imports_that_stay():
    from libs.shared.contracts.base import Principal
    from libs.shared.service import run
    from services.cognition.service import wire
    from services.cognition.settings import get_settings

if __name__ == "__main__":
    run(Principal.COGNITION, get_settings(), wire, description="Recalls, answers and remembers conversations")
