"""Starts the api service: ``python -m services.api``."""

from __future__ import annotations

from libs.shared.quick_imports import imports_that_stay

with imports_that_stay():
    from libs.shared.contracts.base import Principal
    from libs.shared.service import run
    from services.api.service import wire
    from services.api.settings import get_settings


def main() -> None:
    run(Principal.API, get_settings(), wire, description="HTTP for people and programs")


if __name__ == "__main__":
    main()
