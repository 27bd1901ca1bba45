"""Models in the running installation: which are served, in which role, giving a role, making a new file served."""

from __future__ import annotations

import asyncio
import getpass
import time
from dataclasses import dataclass, field

from cli.bus import as_command
from cli.errors import CommandError, Exit
from cli.installation import Installation
from cli.supervision.place import supervisor_of
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.ledger import PROPOSE_CHANGE, READ_SETTINGS, ProposeChange, ReadSettings
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import LIST_MODELS, LIST_NODES, Models
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.roles import ROLES, Role, roles_of

SETTING: dict[Role, str] = {"chat": "default_model", "code": "code_model", "embed": "embedder"}
_STOP_TIMEOUT_S = 40.0
_LOAD_TIMEOUT_S = 180.0
_CHECK_EVERY_S = 0.1
_ASK_EVERY_S = 0.5


@dataclass(frozen=True)
class Serving:
    """What the installation says; ``troubles`` are its nodes' words for what is degraded."""

    models: dict[str, ServedModel] = field(default_factory=dict)
    settings: RuntimeSettings = field(default_factory=RuntimeSettings)
    defaults: dict[Role, str | None] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()
    boots: frozenset[str] = frozenset()
    """The runs of inference, one a node."""

    def named(self, name: str) -> ServedModel | None:
        """The model that is called so, or the one that ``name`` names with an adapter of its, as ``MODEL:ADAPTER``."""
        base, _, adapter = name.rpartition(":")
        other = self.models.get(base)
        return self.models.get(name) or (other if other is not None and adapter in other.adapters else None)

    def given(self, name: str) -> list[Role]:
        """The roles that the settings give to a model, with an adapter or without."""
        roles = roles_of(self.settings)
        return [role for role in ROLES if self._is_of(getattr(roles, role), name)]

    def roles(self, name: str) -> list[Role]:
        """The roles in which a model answers now, given or because it is the first."""
        return [role for role in ROLES if self._is_of(self.defaults.get(role), name)]

    def holds(self, name: str) -> list[Role]:
        """The roles that are this name's own: not those of the model with an adapter where ``name`` says none."""
        return [role for role in ROLES if self.defaults.get(role) == name]

    def adapters(self, name: str) -> tuple[str, ...]:
        """Those with which a model can answer."""
        served = self.models.get(name)
        return served.adapters if served is not None else ()

    def _is_of(self, held: str | None, name: str) -> bool:
        served = self.named(held) if held is not None else None
        return held == name or (served is not None and served.name == name)

    def trouble(self, name: str) -> str | None:
        """The word for why a model is not served."""
        return next((word.rpartition(": ")[2] for word in self.troubles if word.startswith(f"{name}: ")), None)


async def read(installation: Installation) -> Serving:
    """Raises CommandError when the installation doesn't run."""
    async with as_command(installation) as bus:
        told: Models = await bus.request(LIST_MODELS, Empty())
        settings = (await bus.request(READ_SETTINGS, ReadSettings())).settings
        nodes = await bus.request(LIST_NODES, Empty())
    return Serving(
        {model.name: model for model in told.models},
        settings,
        {"chat": told.default_chat, "code": told.default_code, "embed": told.default_embed},
        tuple(word for node in nodes.nodes for word in node.telemetry.degraded),
        frozenset(node.telemetry.boot_id for node in nodes.nodes),
    )


def runs(installation: Installation) -> bool:
    """Whether its supervisor does."""
    return supervisor_of(installation).processes() is not None


def value_for(role: Role, name: str, serving: Serving) -> str | None:
    """What the role's setting has to be for ``name``. Raises CommandError where that can't have the role."""
    model = serving.named(name)
    if model is None or (model.kind == "embed") != (role == "embed") or model.backend == "extractive":
        raise CommandError(_unfit(name, role, model), "see: mongars models list", code=Exit.REFUSED)
    return model.embedder if role == "embed" else name


async def give(installation: Installation, role: Role, name: str) -> None:
    """Makes a served model, or one of its adapters, the one for ``role``, through the ledger. Raises CommandError when
    it can't be."""
    serving = await read(installation)
    value = value_for(role, name, serving)
    if getattr(serving.settings, SETTING[role]) != value:
        await _change(installation, role, value, f"mongars models use --role {role}")


async def hold(installation: Installation, serving: Serving) -> None:
    """Gives the role ``chat`` to the model that answers now, so that another that comes doesn't take it by its name."""
    now = serving.defaults.get("chat")
    if serving.settings.default_model is None and now is not None:
        await _change(installation, "chat", now, "it answered before another model came")


async def free(installation: Installation, role: Role) -> None:
    """Takes the role from whichever model has it."""
    await _change(installation, role, None, "its model was removed")


async def _change(installation: Installation, role: Role, value: str | None, reason: str) -> None:
    actor = f"mongars:{getpass.getuser()}"
    change = ProposeChange(key=SETTING[role], value=value, reason=reason, actor=actor, apply=True)
    async with as_command(installation) as bus:
        await bus.request(PROPOSE_CHANGE, change)


def _unfit(name: str, role: Role, model: ServedModel | None) -> str:
    if model is None:
        return f"no model {name} is served"
    return f"{name} can't {'embed' if role == 'embed' else 'answer'}"


def restart_inference(installation: Installation) -> None:
    """It drains what it is answering, and looks at the models folder again when it comes back. Raises CommandError."""
    supervisor = supervisor_of(installation)
    name = Principal.INFERENCE.value
    supervisor.stop(name)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while (processes := supervisor.processes()) is not None and processes[name].alive:
        if time.monotonic() > deadline:
            raise CommandError("inference does not stop", "see: mongars logs inference")
        time.sleep(_CHECK_EVERY_S)
    supervisor.start(name)


def bring_into_service(installation: Installation, name: str, *, already: bool) -> str | None:
    """None once inference serves the model; else its word for why not. It looks into the folder only when it starts."""
    before = asyncio.run(read(installation))
    if already and name in before.models:
        return None
    asyncio.run(hold(installation, before))
    restart_inference(installation)
    return asyncio.run(wait_served(installation, name, before))


async def wait_served(installation: Installation, name: str, before: Serving) -> str | None:
    """None once a run of inference after ``before`` serves the model; else its word for why not, or ``loading``."""
    deadline = time.monotonic() + _LOAD_TIMEOUT_S
    while True:
        serving = await read(installation)
        anew = bool(serving.boots - before.boots)
        if anew and name in serving.models:
            return None
        word = serving.trouble(name) if anew else None
        if word not in (None, "loading") or time.monotonic() > deadline:
            return word or "loading"
        await asyncio.sleep(_ASK_EVERY_S)


async def wait_gone(installation: Installation, name: str, before: Serving) -> bool:
    """Whether a run of inference after ``before`` has told of itself, and no longer serves the model."""
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        serving = await read(installation)
        if serving.boots - before.boots and name not in serving.models:
            return True
        await asyncio.sleep(_ASK_EVERY_S)
    return False
