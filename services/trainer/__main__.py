"""Starts the trainer: ``python -m services.trainer``."""

from __future__ import annotations

from libs.shared.contracts.base import Principal
from libs.shared.service import run
from services.trainer.service import wire
from services.trainer.settings import get_settings

if __name__ == "__main__":
    run(Principal.TRAINER, get_settings(), wire, description="Trains encoders and adapters in processes of their own")
