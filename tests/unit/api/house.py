"""The other services as the api hears them, on the in-memory bus, and the api itself over plain ASGI."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from libs.shared.bus.memory import MemoryBroker, MemoryBus
from libs.shared.contracts import accounts, adapters, inference, ledger, scheduling
from libs.shared.contracts.base import SERVICES, Empty, Message, Principal
from libs.shared.contracts.chat import CHAT, ChatChunk, ChatRequest
from libs.shared.contracts.common import MemoryMode, Role, Usage
from libs.shared.contracts.jobs import LIST_JOBS, Jobs
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.telemetry import HEALTH, METRICS, DependencyHealth, Health, MetricsText, ServedModel
from libs.shared.credentials import NewApiKey, hash_password, new_api_key
from libs.shared.errors import (
    KeyNotFound,
    ModelNotFound,
    NodeNotFound,
    RefreshInvalid,
    ServiceError,
    UserNotFound,
)
from services.api.app import create_app
from services.api.parts import Parts
from services.api.service import http_server, listen, serve_until_cancelled
from services.api.settings import ApiSettings
from tests.unit.api.remembered import RememberedThings, receipt

NOW = 1_800_000_000.0
AT = datetime.fromtimestamp(NOW, UTC)
SIGNING_KEY = b"a test signs with this key......"
PASSWORD = "a long enough password"
_HASH = hash_password(PASSWORD)


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def chat_model(name: str = "tiny", **more: Any) -> ServedModel:
    return ServedModel(name=name, backend="transformers", context_tokens=512, **more)


def whole_turn(request: ChatRequest) -> list[ChatChunk]:
    """An answer in three chunks."""
    turn = request.turn_id
    return [
        ChatChunk(turn_id=turn, text="Hello", model="tiny", conversation_id="c-new"),
        ChatChunk(turn_id=turn, text=", wörld"),
        ChatChunk(turn_id=turn, finish_reason="stop", usage=Usage(prompt_tokens=7, completion_tokens=2)),
    ]


class House:
    """What persistence, cognition, the scheduler and inference would know; every request is kept in ``heard``."""

    def __init__(self) -> None:
        self.users: dict[str, accounts.User] = {}
        self.hashes: dict[str, str] = {}
        self.keys: dict[str, accounts.ApiKey] = {}
        self.mapped: dict[str, str] = {}
        """Accounts by what any program calls them."""
        self.refresh: dict[str, tuple[str, str]] = {}
        """Live refresh token hash → (family, user)."""
        self.spent: dict[str, str] = {}
        """Used refresh token hash → family."""
        self.heard: list[Message] = []
        self.answer: Callable[[ChatRequest], list[ChatChunk] | ServiceError] = whole_turn
        self.hold: asyncio.Event | None = None
        """While set and clear, cognition waits after its first chunk."""
        self.silent = False
        """Cognition does not even send a first chunk."""
        self.cancelled = asyncio.Event()
        self.generating = asyncio.Event()
        self.models = scheduling.Models(
            models=(chat_model(), chat_model("minilm", kind="embed", dimensions=3)),
            default_chat="tiny",
            default_embed="minilm",
        )
        self.nodes: tuple[scheduling.Node, ...] = ()
        self.adapters = adapters.Adapters(adapters=(), key="")
        self.explanation = scheduling.Explanation(model=None, policy="expected_completion", node_id=None)
        self.histories: dict[str, scheduling.NodeHistory] = {}
        self.changes: tuple[ledger.Change, ...] = ()
        self.lost_replicas: set[str] = set()
        self.memory = RememberedThings()
        self.broker = MemoryBroker()
        self.buses: dict[Principal, MemoryBus] = {}

    def told(self, kind: type[Message]) -> list[Any]:
        return [message for message in self.heard if type(message) is kind]

    def add_user(self, name: str, role: Role = Role.USER, **more: Any) -> accounts.User:
        fields: dict[str, Any] = {"user_id": f"id-{name}", "name": name, "role": role, "disabled": False, **more}
        user = accounts.User(created_at=AT, **fields)
        self.users[user.user_id] = user
        self.hashes[user.user_id] = _HASH
        return user

    def add_key(self, user: accounts.User, **more: Any) -> str:
        """A key's secret."""
        made = new_api_key()
        self._keep(made, user.user_id, **more)
        return made.secret

    def _keep(self, made: NewApiKey, user_id: str, **more: Any) -> None:
        fields: dict[str, Any] = {"memory": MemoryMode.READ_WRITE, "scopes": (), "expires_at": None, **more}
        self.keys[made.hash] = accounts.ApiKey(
            key_id=f"key-{len(self.keys)}", user_id=user_id, name="k", prefix=made.prefix, created_at=AT, **fields
        )

    async def open(self) -> None:
        others = [service for service in SERVICES if service is not Principal.API]
        self.buses = {service: await self.broker.connect(service) for service in others}
        await self._serve_accounts(self.buses[Principal.PERSISTENCE])
        await self._serve_data(self.buses[Principal.PERSISTENCE])
        await self._serve_models()
        for principal, bus in self.buses.items():
            await bus.serve(HEALTH[principal], self._health(principal))
            await bus.serve(METRICS[principal], self._metrics(principal))
        await self.buses[Principal.COGNITION].serve_stream(CHAT, self._chat)
        await self.memory.serve(self.buses[Principal.PERSISTENCE], self.buses[Principal.COGNITION], self._heard)

    async def account_changed(self, user_id: str) -> None:
        bus = self.buses[Principal.PERSISTENCE]
        await bus.broadcast(accounts.ACCOUNT_CHANGED, accounts.AccountChanged(user_id=user_id))

    async def close(self) -> None:
        for bus in self.buses.values():
            await bus.drain(1.0)

    def _heard(self, reply: Any) -> Callable[[Any], Any]:
        async def handle(message: Message) -> Any:
            self.heard.append(message)
            return reply(message) if callable(reply) else reply

        return handle

    async def _serve_accounts(self, bus: MemoryBus) -> None:
        await bus.serve(accounts.FIND_KEY, self._heard(self._find_key))
        await bus.serve(accounts.FIND_LOGIN, self._heard(self._find_login))
        await bus.serve(accounts.READ_USER, self._heard(self._read_user))
        await bus.serve(accounts.SAVE_REFRESH, self._heard(self._save_refresh))
        await bus.serve(accounts.ROTATE_REFRESH, self._heard(self._rotate_refresh))
        await bus.serve(accounts.END_SESSION, self._heard(self._end_session))
        await bus.serve(accounts.CHANGE_USER, self._heard(self._change_user))
        await bus.serve(accounts.CREATE_USER, self._heard(self._create_user))
        await bus.serve(accounts.DELETE_USER, self._heard(lambda wanted: receipt("account", wanted.user_id)))
        await bus.serve(accounts.LIST_USERS, self._heard(lambda _: accounts.Users(users=tuple(self.users.values()))))
        await bus.serve(accounts.CREATE_KEY, self._heard(self._create_key))
        await bus.serve(accounts.LIST_KEYS, self._heard(self._list_keys))
        await bus.serve(accounts.REVOKE_KEY, self._heard(self._revoke_key))
        await bus.serve(accounts.FIND_MAPPED, self._heard(self._find_mapped))
        await bus.serve(accounts.LIST_MAPPINGS, self._heard(lambda _: accounts.KeyMappings(mappings=())))
        await bus.serve(accounts.MAP_USER, self._heard(self._map_user))
        await bus.serve(accounts.ACCEPT_MAPPING, self._heard(lambda _: Empty()))
        await bus.serve(accounts.UNMAP_USER, self._heard(lambda _: Empty()))

    def _find_mapped(self, wanted: accounts.FindMapped) -> accounts.FoundMapped:
        meant = {self.mapped[name] for name in wanted.externals if name in self.mapped}
        return accounts.FoundMapped(user_id=meant.pop() if len(meant) == 1 else None)

    def _map_user(self, wanted: accounts.MapUser) -> accounts.KeyMapping:
        about = {"key_id": wanted.key_id, "user_id": wanted.user_id, "created_at": AT, "accepted": wanted.accepted}
        return accounts.KeyMapping.model_validate({"mapping_id": "m", "name": "ana", **about})

    async def _serve_data(self, bus: MemoryBus) -> None:
        await bus.serve(LIST_JOBS, self._heard(Jobs(jobs=())))
        await bus.serve(ledger.READ_SETTINGS, self._heard(ledger.SettingsRead(settings=RuntimeSettings())))
        await bus.serve(ledger.LIST_CHANGES, self._heard(lambda _: ledger.Changes(changes=self.changes)))
        await bus.serve(ledger.PROPOSE_CHANGE, self._heard(self._change))
        await bus.serve(ledger.DECIDE_CHANGE, self._heard(self._change))
        await bus.serve(adapters.LIST_ADAPTERS, self._heard(lambda _: self.adapters))
        await bus.serve(adapters.SERVE_ADAPTER, self._heard(self._change))
        rolled_back = self._heard(lambda wanted: adapters.RolledBack(changes=(self._change(wanted),)))
        await bus.serve(adapters.ROLL_BACK_ADAPTER, rolled_back)
        await bus.serve(adapters.REMOVE_ADAPTER, self._heard(Empty()))

    async def _serve_models(self) -> None:
        bus = self.buses[Principal.SCHEDULER]
        await bus.serve(scheduling.LIST_MODELS, self._heard(lambda _: self.models))
        await bus.serve(scheduling.LIST_NODES, self._heard(lambda _: scheduling.Nodes(nodes=self.nodes)))
        await bus.serve(scheduling.NODE_HISTORY, self._heard(self._past))
        await bus.serve(scheduling.EXPLAIN_PLACEMENT, self._heard(lambda _: self.explanation))
        await bus.serve(scheduling.EXPLAIN_JOB, self._heard(lambda _: self.explanation))
        await bus.serve(scheduling.DRAIN, self._heard(lambda wanted: self._drained(wanted, True)))
        await bus.serve(scheduling.UNDRAIN, self._heard(lambda wanted: self._drained(wanted, False)))
        await bus.serve(scheduling.PLACE, self._heard(self._place))
        for replica in ("node-0", "node-1"):
            await self.buses[Principal.INFERENCE].serve(
                inference.EMBED, self._heard(lambda request, r=replica: self._embed(r, request)), replica=replica
            )

    def _past(self, wanted: scheduling.ReadHistory) -> scheduling.Histories:
        found = {node: past for node, past in self.histories.items() if wanted.node_id in (None, node)}
        return scheduling.Histories(nodes=found)

    def _drained(self, wanted: scheduling.NodeRef, draining: bool) -> scheduling.Drained:
        if wanted.node_id not in {node.telemetry.node_id for node in self.nodes}:
            raise NodeNotFound("no such node is known")
        return scheduling.Drained(node_id=wanted.node_id, draining=draining)

    def _find_key(self, wanted: accounts.FindKey) -> accounts.FoundKey:
        key = self.keys.get(wanted.hash)
        return accounts.FoundKey(key=key, user=self.users.get(key.user_id) if key else None)

    def _find_login(self, wanted: accounts.UserRef) -> accounts.Login:
        user = next((user for user in self.users.values() if user.name == wanted.name), None)
        return accounts.Login(user=user, password_hash=self.hashes[user.user_id] if user else None)

    def _read_user(self, wanted: accounts.UserRef) -> accounts.User:
        if wanted.user_id not in self.users:
            raise UserNotFound("no such account")
        return self.users[wanted.user_id]

    def _create_user(self, wanted: accounts.CreateUser) -> accounts.User:
        fields = wanted.model_dump(include={"user_id", "must_change_password"})
        user = self.add_user(wanted.name, wanted.role, **fields)
        self.hashes[user.user_id] = wanted.password_hash or ""
        return user

    def _change_user(self, wanted: accounts.ChangeUser) -> accounts.User:
        user = self._read_user(accounts.UserRef(user_id=wanted.user_id))
        changes = {n: v for n in ("role", "disabled", "must_change_password") if (v := getattr(wanted, n)) is not None}
        self.users[user.user_id] = user.model_copy(update=changes)
        if wanted.password_hash is not None:
            self.hashes[user.user_id] = wanted.password_hash
        return self.users[user.user_id]

    def _save_refresh(self, wanted: accounts.SaveRefresh) -> Empty:
        self.refresh[wanted.hash] = (wanted.family_id, wanted.user_id)
        return Empty()

    def _rotate_refresh(self, wanted: accounts.RotateRefresh) -> accounts.Rotated:
        if (family := self.spent.get(wanted.hash)) is not None:
            self.refresh = {h: owner for h, owner in self.refresh.items() if owner[0] != family}
        if wanted.hash not in self.refresh:
            raise RefreshInvalid("log in again")
        family, user_id = self.refresh.pop(wanted.hash)
        self.spent[wanted.hash] = family
        self.refresh[wanted.next_hash] = (family, user_id)
        return accounts.Rotated(family_id=family, user=self.users[user_id])

    def _end_session(self, wanted: accounts.EndSession) -> Empty:
        self.refresh = {
            h: (family, user)
            for h, (family, user) in self.refresh.items()
            if user != wanted.user_id or wanted.family_id not in (None, family)
        }
        return Empty()

    def _create_key(self, wanted: accounts.CreateKey) -> accounts.ApiKey:
        fields = wanted.model_dump(exclude={"hash"})
        self.keys[wanted.hash] = accounts.ApiKey(created_at=AT, **fields)
        return self.keys[wanted.hash]

    def _list_keys(self, wanted: accounts.ListKeys) -> accounts.ApiKeys:
        return accounts.ApiKeys(keys=tuple(k for k in self.keys.values() if k.user_id == wanted.user_id))

    def _revoke_key(self, wanted: accounts.KeyRef) -> Empty:
        for hashed, key in self.keys.items():
            if key.key_id == wanted.key_id and key.user_id == wanted.user_id:
                del self.keys[hashed]
                return Empty()
        raise KeyNotFound("no such key")

    def _change(self, wanted: Any) -> ledger.Change:
        return ledger.Change(
            change_id="ch1",
            sequence=1,
            key=getattr(wanted, "key", "recall_k"),
            before=8,
            after=getattr(wanted, "value", 8),
            reason="",
            state=ledger.ChangeState.APPLIED,
            proposed={"actor": wanted.actor, "at": AT},  # type: ignore[arg-type]
            previous_hash="0",
            hash="1",
        )

    def _place(self, wanted: scheduling.PlaceRequest) -> scheduling.Placement:
        model = next((m for m in self.models.models if m.name == (wanted.model or "minilm")), None)
        if model is None:
            raise ModelNotFound("no node serves it")
        replica = next(r for r in ("node-0", "node-1") if r not in wanted.exclude)
        return scheduling.Placement(node_id="node", replica=replica, model=model, policy="test")

    def _embed(self, replica: str, wanted: inference.EmbedRequest) -> inference.Embeddings:
        if replica in self.lost_replicas:
            raise ServiceError.named("backend_failed", "broke", {})
        vectors = tuple(struct.pack("<3f", 0.5, float(len(text)), -1.0) for text in wanted.texts)
        return inference.Embeddings(embedder="minilm@1", dimensions=3, vectors=vectors, prompt_tokens=len(wanted.texts))

    def _health(self, principal: Principal) -> Callable[[Empty], Any]:
        dependencies = {"database": DependencyHealth(ok=True)} if principal is Principal.PERSISTENCE else {}
        degraded = ("no-model",) if principal is Principal.SCHEDULER else ()
        return self._heard(
            Health(service=principal, version="1", ready=True, dependencies=dependencies, degraded=degraded)
        )

    def _metrics(self, principal: Principal) -> Callable[[Empty], Any]:
        text = f'# HELP up Whether it runs\n# TYPE up gauge\nup{{service="{principal}"}} 1.0\n'
        return self._heard(MetricsText(text=text))

    async def _chat(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        self.heard.append(request)
        answer = self.answer(request)
        try:
            self.generating.set()
            if self.silent:
                await asyncio.Event().wait()
            for chunk in answer if isinstance(answer, list) else []:
                yield chunk
                if self.hold is not None:
                    await self.hold.wait()
            if isinstance(answer, ServiceError):
                raise answer
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise


@dataclass
class Api:
    """The api under test, with a client that speaks to it without a socket."""

    house: House
    parts: Parts
    clock: Clock
    client: httpx.AsyncClient

    def key(self, name: str = "ana", role: Role = Role.USER, **more: Any) -> dict[str, str]:
        """The header of a new key of the user."""
        user = self.house.users.get(f"id-{name}") or self.house.add_user(name, role)
        return {"Authorization": f"Bearer {self.house.add_key(user, **more)}"}

    async def session(self, name: str = "ana", role: Role = Role.USER, **more: Any) -> dict[str, str]:
        """The header of a new session of the user."""
        if f"id-{name}" not in self.house.users:
            self.house.add_user(name, role, **more)
        answer = await self.log_in(name)
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    async def log_in(self, name: str = "ana", password: str = PASSWORD) -> httpx.Response:
        return await self.client.post("/api/v1/auth/token", data={"username": name, "password": password})

    async def ask(self, headers: dict[str, str], **body: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": "hello"}], **body}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)


@asynccontextmanager
async def open_api(
    house: House, clock: Clock | None = None, *, steady: Clock | None = None, **settings: Any
) -> AsyncIterator[Api]:
    """The api over the house, as it is after its start; it stops at the end, and can be opened again.

    ``steady``: a clock of its own that goes on where ``clock`` is set; otherwise one clock is both.
    """
    clock = clock or Clock()
    bus = await house.broker.connect(Principal.API)
    parts = Parts.build(ApiSettings(**settings), bus, SIGNING_KEY, clock, steady or clock)
    await parts.start()
    transport = httpx.ASGITransport(create_app(parts, version="0.0.0"), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield Api(house, parts, clock, client)
    await parts.stop()
    await bus.drain(1.0)


@asynccontextmanager
async def served(api: Api) -> AsyncIterator[tuple[str, int]]:
    """The api on a real socket, by the server that the service runs; drained at the end."""
    listener = listen("127.0.0.1", 0)
    address: tuple[str, int] = listener.getsockname()
    serving = asyncio.ensure_future(
        serve_until_cancelled(http_server(api.parts, create_app(api.parts, version="0")), listener)
    )
    try:
        yield address
    finally:
        serving.cancel()
        await asyncio.wait([serving])


def raw_request(path: str, headers: dict[str, str], body: dict[str, Any]) -> bytes:
    """A POST as bytes."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: api\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + "".join(f"{k}: {v}\r\n" for k, v in headers.items()).encode() + b"\r\n" + content
