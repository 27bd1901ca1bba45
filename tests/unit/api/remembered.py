"""What persistence and cognition would remember of people, as the api hears of it on the in-memory bus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from libs.shared.bus.memory import MemoryBus
from libs.shared.contracts import conversations, documents, forgetting, material, memory, ratings
from libs.shared.contracts.turns import TurnMessage
from libs.shared.errors import ConversationNotFound, DocumentNotFound, MemoryNotFound, ServiceError, TurnNotFound

AT = datetime.fromtimestamp(1_800_000_000.0, UTC)
Heard = Callable[[Any], Callable[[Any], Any]]


class RememberedThings:
    """One conversation ``c1`` of two messages, one document ``d1``, and whatever is added."""

    def __init__(self) -> None:
        self.turns: dict[str, memory.ImportedTurn] = {}
        self.items: dict[str, memory.MemoryItem] = {}
        self.documents: dict[str, documents.Document] = {}
        self.contents: dict[str, bytes] = {}
        self.thumbs: dict[str, ratings.Rating] = {}
        self.choices = ratings.TrainingChoices()
        self.consent = consent("c1", allowed=False)
        self.importing: Callable[[memory.ImportTurns], Awaitable[None]] = at_once
        """May raise what cognition refuses, or take its time."""
        self.before_listing: Callable[[conversations.ListConversations], None] = lambda _: None

    async def serve(self, persistence: MemoryBus, cognition: MemoryBus, heard: Heard) -> None:
        answers: dict[Any, Any] = {
            conversations.LIST_CONVERSATIONS: self._list_conversations,
            conversations.READ_CONVERSATION: self._read_conversation,
            conversations.CHANGE_CONVERSATION: self._change_conversation,
            conversations.DELETE_CONVERSATION: lambda wanted: receipt("conversation", wanted.conversation_id),
            memory.LIST_MEMORIES: self._list,
            memory.READ_MEMORY: lambda wanted: self._item(wanted.id),
            memory.FORGET_MEMORY: self._forget,
            memory.FORGET_EVERYTHING: lambda wanted: receipt("everything", wanted.user_id),
            forgetting.LIST_RECEIPTS: forgetting.Receipts(receipts=(receipt("memory", "m1"),)),
            ratings.RATE_TURN: self._rate,
            ratings.LIST_RATINGS: lambda _: ratings.Ratings(ratings=tuple(self.thumbs.values())),
            ratings.LIST_CONSENTS: lambda _: ratings.Consents(choices=self.choices, conversations=(self.consent,)),
            ratings.SET_CONSENT: self._decide,
            ratings.CHANGE_TRAINING_CHOICES: self._choose,
            material.LIST_TRAINED: lambda wanted: material.Trained(adapters=trained(wanted.owner)),
            documents.LIST_DOCUMENTS: lambda _: documents.Documents(documents=tuple(self.documents.values())),
            documents.READ_DOCUMENT: lambda wanted: self._document(wanted.document_id),
            documents.FORGET_DOCUMENT: lambda wanted: receipt(
                "document", self._document(wanted.document_id).document_id
            ),
        }
        for contract, answer in answers.items():
            await persistence.serve(contract, heard(answer))
        await cognition.serve(memory.SEARCH_MEMORY, heard(memory.MemoryItems(items=(), understood={"names": []})))
        await cognition.serve(memory.IMPORT_TURNS, self._importer(heard))
        await cognition.serve(memory.ADD_MEMORY, heard(self._add))
        await cognition.serve(memory.EDIT_MEMORY, heard(self._edit))
        await cognition.serve(documents.ADD_DOCUMENT, heard(self._add_document))

    def _list_conversations(self, wanted: conversations.ListConversations) -> conversations.Conversations:
        """A page each for the two that there are."""
        self.before_listing(wanted)
        which, after = ("c2", None) if wanted.cursor else ("c1", "2")
        return conversations.Conversations(conversations=(heading(which),), next_cursor=after)

    def _read_conversation(self, wanted: conversations.ReadConversation) -> conversations.ConversationRead:
        """Two messages, a page each; a document's passages are read in the same way."""
        if wanted.conversation_id in self.documents:
            text = self.contents[self.documents[wanted.conversation_id].name].decode()
            message = TurnMessage(message_id="p", parent_id=None, speaker="user", text=text, at=AT, page=3)
            return conversations.ConversationRead(conversation=heading("d"), messages=(message,))
        if wanted.conversation_id != "c1":
            raise ConversationNotFound("no such conversation")
        speaker, text = ("assistant", "A Pi 5.") if wanted.cursor else ("user", "Which board?")
        message = TurnMessage(message_id="m-" + speaker, parent_id=None, speaker=speaker, text=text, at=AT)
        return conversations.ConversationRead(
            conversation=heading("c1"), messages=(message,), next_cursor=None if wanted.cursor else "2"
        )

    def _change_conversation(self, wanted: conversations.ChangeConversation) -> conversations.Conversation:
        known = {turn.conversation_id for turn in self.turns.values()} | {"c1"}
        if wanted.conversation_id not in known:
            raise ConversationNotFound("no such conversation")
        changes = {name: value for name in ("title", "remembered") if (value := getattr(wanted, name)) is not None}
        return heading("c1").model_copy(update=changes)

    def _rate(self, wanted: ratings.RateTurn) -> ratings.Rated:
        """One turn ``t1`` there is."""
        if wanted.turn_id != "t1":
            raise TurnNotFound("no such answer")
        self.thumbs.pop("t1", None)
        if wanted.thumb is not None:
            self.thumbs["t1"] = ratings.Rating(turn_id="t1", conversation_id="c1", thumb=wanted.thumb, at=AT)
        return ratings.Rated(rating=self.thumbs.get("t1"))

    def _decide(self, wanted: ratings.SetConsent) -> ratings.ConsentSet:
        if wanted.conversation_id != "c1":
            raise ConversationNotFound("no such conversation")
        self.consent = consent("c1", allowed=wanted.allowed)
        return ratings.ConsentSet(consent=self.consent, tainted_adapters=() if wanted.allowed else ("ada",))

    def _choose(self, wanted: ratings.ChangeTrainingChoices) -> ratings.TrainingChoicesChanged:
        names = ("future", "share_adapters", "tuning")
        changes = {name: value for name in names if (value := getattr(wanted, name)) is not None}
        self.choices = self.choices.model_copy(update=changes)
        return ratings.TrainingChoicesChanged(choices=self.choices)

    def _list(self, wanted: memory.ListMemories) -> memory.Memories:
        found = [item for item in self.items.values() if wanted.kind in (None, item.kind)]
        return memory.Memories(items=tuple(found))

    def _item(self, id: str) -> memory.MemoryItem:
        if id not in self.items:
            raise MemoryNotFound("no such memory")
        return self.items[id]

    def _forget(self, wanted: memory.MemoryRef) -> forgetting.Receipt:
        del self.items[self._item(wanted.id).id]
        return receipt("memory", wanted.id)

    def _importer(self, heard: Heard) -> Callable[[memory.ImportTurns], Awaitable[memory.Imported]]:
        async def handle(wanted: memory.ImportTurns) -> memory.Imported:
            await self.importing(wanted)
            imported: memory.Imported = await heard(self._import)(wanted)
            return imported

        return handle

    def _import(self, wanted: memory.ImportTurns) -> memory.Imported:
        new = {turn.id: turn for turn in wanted.turns if turn.id not in self.turns}
        self.turns |= new
        return memory.Imported(imported=len(new), present=len(wanted.turns) - len(new))

    def _add(self, wanted: memory.AddMemory) -> memory.MemoryItem:
        id = f"note-{len(self.items)}"
        self.items[id] = note(id, wanted.text).model_copy(
            update={"at": wanted.at or AT, "pinned": wanted.pinned, "importance": wanted.importance or 0.0}
        )
        return self.items[id]

    def _edit(self, wanted: memory.EditMemory) -> memory.MemoryItem:
        changes = {n: v for n in ("text", "pinned", "importance") if (v := getattr(wanted, n)) is not None}
        self.items[wanted.id] = self._item(wanted.id).model_copy(update=changes)
        return self.items[wanted.id]

    def _add_document(self, wanted: documents.AddDocument) -> documents.DocumentAdded:
        if wanted.content.startswith(b"\x7fELF"):
            raise ServiceError.named("unsupported_document", "text, Markdown, PDF and DOCX are read", {})
        changed = self.contents.get(wanted.name) != wanted.content
        self.contents[wanted.name] = wanted.content
        found = next((d for d in self.documents.values() if d.name == wanted.name), None)
        document = found or documents.Document(
            document_id=f"d{len(self.documents) + 1}",
            name=wanted.name,
            media_type=wanted.media_type or "text/plain",
            size=len(wanted.content),
            pages=None,
            passages=1,
            added_at=AT,
        )
        self.documents[document.document_id] = document
        return documents.DocumentAdded(document=document, changed=changed)

    def _document(self, document_id: str) -> documents.Document:
        if document_id not in self.documents:
            raise DocumentNotFound("no such document")
        return self.documents[document_id]


async def at_once(_: memory.ImportTurns) -> None:
    """Imports without further ado."""


def heading(conversation_id: str) -> conversations.Conversation:
    return conversations.Conversation(
        conversation_id=conversation_id,
        title="Boards",
        messages=2,
        remembered=conversation_id != "c2",
        created_at=AT,
        updated_at=AT,
    )


def consent(conversation_id: str, *, allowed: bool) -> ratings.ConversationConsent:
    return ratings.ConversationConsent(
        conversation_id=conversation_id,
        title="Boards",
        messages=2,
        allowed=allowed,
        decided=allowed,
        created_at=AT,
        updated_at=AT,
    )


def trained(owner: str) -> tuple[material.TrainedAdapter, ...]:
    """Two adapters: one of the owner's words alone, one that is shared and tainted."""
    taint = material.Taint(cause="withdrawn", exchanges=1, at=AT)
    alone = material.TrainedAdapter(adapter="ada", datasets=("d1",), owners=(owner,), shared=False, recorded_at=AT)
    shared = {"adapter": "both", "owners": (owner, "id-ben"), "shared": True, "taints": (taint,)}
    return (alone, alone.model_copy(update=shared))


def note(id: str, text: str) -> memory.MemoryItem:
    return memory.MemoryItem(
        id=id,
        kind=memory.MemoryKind.NOTE,
        text=text,
        source_id=id,
        conversation_id="notes",
        speaker="user",
        at=AT,
    )


def receipt(scope: forgetting.Scope, subject_id: str) -> forgetting.Receipt:
    return forgetting.Receipt(
        receipt_id="r1",
        scope=scope,
        subject_id=subject_id,
        at=AT,
        removed=forgetting.Removed(messages=1, data_keys=1),
        key="a2V5",
        signature="c2ln",
    )
