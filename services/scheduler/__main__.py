"""Starts the scheduler: ``python -m services.scheduler``."""

from __future__ import annotations

from libs.shared.quick_imports import imports_that_stay

with imports_that_stay():
    from libs.shared.contracts.base import Principal
    from libs.shared.service import run
    from services.scheduler.service import wire
    from services.scheduler.settings import get_settings

if __name__ == "__main__":
    run(Principal.SCHEDULER, get_settings(), wire, description="Places requests on the node that answers soonest")
