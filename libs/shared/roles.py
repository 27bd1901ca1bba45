"""What models are for: the roles that a request may name instead of a model, and which model has each. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from libs.shared.contracts.runtime_settings import RuntimeSettings

Role = Literal["chat", "code", "embed"]
ROLES: tuple[Role, ...] = get_args(Role)
PREFIX = "mongars/"


@dataclass(frozen=True, slots=True)
class Roles:
    """Names of models; None takes the first that is served, and ``code`` that of ``chat``."""

    chat: str | None = None
    code: str | None = None
    embed: str | None = None

    def model(self, role: Role) -> str | None:
        """Which was given the role."""
        return (self.code or self.chat) if role == "code" else getattr(self, role)


NOBODY = Roles()


def roles_of(settings: RuntimeSettings) -> Roles:
    """As the settings have them; an embedder is known there with its version."""
    embed = settings.embedder.partition("@")[0] if settings.embedder else None
    return Roles(settings.default_model, settings.code_model, embed)


def role_named(model: str) -> Role | None:
    """The role that a request means by ``code`` or ``mongars/code``; None for a model's own name."""
    bare = model.removeprefix(PREFIX)
    return next((role for role in ROLES if role == bare), None)
