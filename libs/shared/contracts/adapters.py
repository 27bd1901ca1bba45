"""Adapters and encoders as artefacts: signed by the installation, kept for its nodes, put into service and out of it.

Whoever trained one puts its files into the object store under their hashes and asks persistence to keep it; persistence
alone signs. Nodes ask persistence what there is and for its files, wherever they run.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from libs.shared.contracts.base import MIB, Broadcast, Empty, Message, ObjectStore, Principal, Rpc, Stream
from libs.shared.contracts.common import AdapterName, Id, JsonObject
from libs.shared.contracts.ledger import Change

FORMAT = 1
"""Of the manifests that this release writes and reads."""
MOST_FILE_BYTES = 2048 * MIB
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ServedRole = Literal["chat", "code"]
ServiceRole = Literal["chat", "code", "embed"]
"""An encoder's is ``embed``."""


class ArtefactFile(Message):
    """One file of an artefact's folder."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    size: int = Field(ge=0, le=MOST_FILE_BYTES)
    sha256: Sha256


class BaseModelOf(Message):
    """The model that it changes."""

    name: str = Field(min_length=1, max_length=190)
    """Under which the model is served."""
    revision: str | None = Field(default=None, max_length=100)
    """At the hub, where it came from there."""
    fingerprint: str | None = Field(default=None, max_length=100)
    """Of the files with which it was trained (``libs.shared.artefacts.folders``); None: not told, and not compared."""


class Manifest(Message):
    """What an artefact is. ``owners``: those whose words trained it; None: nobody's, and everybody may use it. Whether
    they let others use it is told beside it (``KeptAdapter``)."""

    format: int = FORMAT
    name: AdapterName
    kind: Literal["adapter", "encoder"] = "adapter"
    base: BaseModelOf
    data_sha256: Sha256 | None = None
    """Of the dataset that trained it."""
    configuration: JsonObject = Field(default_factory=dict)
    metrics: JsonObject = Field(default_factory=dict)
    files: tuple[ArtefactFile, ...] = Field(min_length=1, max_length=16)
    created: datetime
    owners: tuple[Id, ...] | None = None


class SignedManifest(Message):
    """``body`` is the manifest's canonical JSON, signed as it stands here, with Ed25519."""

    body: str
    key: str = ""
    """Base64; the installation's."""
    signature: str = ""
    """Base64."""


class InService(Message):
    """Where an adapter answers: with a share of 1 every request of the role, else so many of its conversations. An
    encoder embeds every memory."""

    role: ServiceRole
    share: float


class KeptAdapter(Message):
    """An artefact in the store; ``code`` says why its manifest is refused, and then there is nothing else of it."""

    name: str
    signed: SignedManifest
    manifest: Manifest | None = None
    code: str | None = None
    in_service: tuple[InService, ...] = ()
    tainted: bool = False
    """Something that it was trained with was forgotten, edited or withdrawn since."""
    owners: tuple[Id, ...] | None = None
    """Who may use it now; None: everybody. Those whose words trained it may let others, and take that back, so that
    this isn't what its manifest says."""


class Adapters(Message):
    """By name, and the key by which each has to be signed (base64)."""

    adapters: tuple[KeptAdapter, ...]
    key: str
    free_bytes: int = 0
    """What the store has room for."""


class KeepAdapter(Message):
    """Signs and keeps what lies in the store. Raises ``adapter_exists``, ``artefact_corrupt`` (its files aren't there,
    or are others than it says)."""

    manifest: Manifest


class ReadAdapterFile(Message):
    """Raises ``adapter_not_found``, ``artefact_corrupt`` at the end, where it isn't what was put."""

    adapter: AdapterName
    sha256: Sha256


class AdapterPiece(Message):
    """The file's next bytes."""

    data: bytes


class ServeAdapter(Message):
    """Puts one into service: a change of the ledger, applied at once where ``apply``, else proposed. An encoder has no
    role, and no share but the whole: every memory is embedded with it.

    Raises ``adapter_not_found``, ``adapter_tainted`` without ``despite_taint``, ``encoder_unproven`` without
    ``despite_verdict``.
    """

    adapter: AdapterName
    role: ServedRole = "chat"
    share: float = Field(default=1.0, gt=0, le=1)
    """1: promoted; less: a canary."""
    reason: str = Field(default="", max_length=500)
    actor: str
    apply: bool = False
    despite_taint: bool = False
    despite_verdict: bool = False
    """Also an encoder of which no evaluation found that it helps."""
    instead_of: str | None = Field(default=None, max_length=128)
    """``name@version`` of what embeds now, for where no setting names one and nothing is remembered yet."""


class RollBackAdapter(Message):
    """Rolls back every change that has it in service. Raises ``adapter_not_found``, ``change_state`` when it is in no
    service."""

    adapter: AdapterName
    actor: str


class RolledBack(Message):
    """The newest first."""

    changes: tuple[Change, ...]


class RemoveAdapter(Message):
    """Takes it out of the store, and from the nodes, for good. Raises ``adapter_not_found``, ``adapter_in_use``."""

    adapter: AdapterName
    actor: str


class AdaptersChanged(Message):
    """One was kept or removed: whoever holds a list of them asks again."""

    adapter: AdapterName


ARTEFACTS = ObjectStore(
    name="adapters",
    writers=frozenset({Principal.CLI, Principal.PERSISTENCE, Principal.TRAINER}),
    readers=frozenset({Principal.PERSISTENCE}),
    max_bytes=4096 * MIB,
)
"""Files under their hashes, and signed manifests; nodes read through persistence."""

KEEP_ADAPTER = Rpc(
    "mongars.v1.persistence.keep_adapter",
    KeepAdapter,
    SignedManifest,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.CLI, Principal.TRAINER}),
    timeout_s=20.0,
)
LIST_ADAPTERS = Rpc(
    "mongars.v1.persistence.list_adapters",
    Empty,
    Adapters,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.CLI, Principal.COGNITION, Principal.INFERENCE, Principal.TRAINER}),
    max_bytes=16 * MIB,
)
READ_ADAPTER_FILE = Stream(
    "mongars.v1.persistence.read_adapter_file",
    ReadAdapterFile,
    AdapterPiece,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.CLI, Principal.INFERENCE, Principal.TRAINER}),
    max_bytes=2 * MIB,
    window=8,
)
"""Also for nodes on other machines, which may ask JetStream nothing; the command line puts them into backups."""
SERVE_ADAPTER = Rpc(
    "mongars.v1.persistence.serve_adapter",
    ServeAdapter,
    Change,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.CLI}),
)
ROLL_BACK_ADAPTER = Rpc(
    "mongars.v1.persistence.roll_back_adapter",
    RollBackAdapter,
    RolledBack,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.CLI}),
)
REMOVE_ADAPTER = Rpc(
    "mongars.v1.persistence.remove_adapter",
    RemoveAdapter,
    Empty,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.CLI}),
)
ADAPTERS_CHANGED = Broadcast(
    "mongars.v1.persistence.adapters_changed",
    AdaptersChanged,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.COGNITION, Principal.INFERENCE}),
)
