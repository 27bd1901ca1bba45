"""Refusals that a caller can expect, with a stable code that crosses the wire; anything else is ``internal``."""

from __future__ import annotations

from typing import Any, ClassVar


class ServiceError(Exception):
    """A refusal. ``code`` is stable and documented; ``detail`` says what to do and holds nothing personal.

    A subclass names one code; ``ServiceError.named(code, …)`` rebuilds the right subclass from the wire.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    _by_code: ClassVar[dict[str, type[ServiceError]]] = {}

    def __init__(self, detail: str = "", **data: Any) -> None:
        super().__init__(detail or self.code)
        self.detail = detail or self.code.replace("_", " ")
        self.data = data
        """JSON values for the caller, such as ``retry_after_s``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.code in ServiceError._by_code:
            raise TypeError(f"error code {cls.code} is declared twice")
        ServiceError._by_code[cls.code] = cls

    @classmethod
    def named(cls, code: str, detail: str, data: dict[str, Any]) -> ServiceError:
        """The error that ``code`` stands for; an unknown code becomes ``Internal``."""
        return cls._by_code.get(code, Internal)(detail, **data)

    @classmethod
    def codes(cls) -> dict[str, int]:
        """Every declared code with its HTTP status."""
        return {code: error.status for code, error in sorted(cls._by_code.items())}


class Internal(ServiceError):
    """A fault of ours: logged with its traceback where it happened, told without detail."""

    code = "internal"
    status = 500


class InvalidRequest(ServiceError):
    """A message that its contract refuses; ``data["errors"]`` lists the fields."""

    code = "invalid_request"
    status = 422


class TooLarge(ServiceError):
    """A body over its contract's limit."""

    code = "too_large"
    status = 413


class Unavailable(ServiceError):
    """Nobody serves the subject, or the broker is away."""

    code = "unavailable"
    status = 503


class TimedOut(ServiceError):
    """No answer within the contract's time."""

    code = "timed_out"
    status = 504


class Forbidden(ServiceError):
    """The broker or a service denies the call."""

    code = "forbidden"
    status = 403


class Overloaded(ServiceError):
    """Queues are full; ``data["retry_after_s"]`` says when to try again."""

    code = "overloaded"
    status = 429


class Cancelled(ServiceError):
    """The server ended the conversation, because it is stopping."""

    code = "cancelled"
    status = 503


class Preempted(ServiceError):
    """Work for which nobody waits was stopped in the middle, because somebody waits for an answer: it can be asked for
    again when that is over."""

    code = "preempted"
    status = 503


class StorageFull(ServiceError):
    """A disk, or a stream's bound, is full: nothing was kept."""

    code = "storage_full"
    status = 507


class NotYetApplied(ServiceError):
    """The position that a reader asked to wait for was not reached in time."""

    code = "not_yet_applied"
    status = 503


class UserNotFound(ServiceError):
    code = "user_not_found"
    status = 404


class UserExists(ServiceError):
    code = "user_exists"
    status = 409


class LastAdmin(ServiceError):
    code = "last_admin"
    status = 409


class KeyNotFound(ServiceError):
    code = "key_not_found"
    status = 404


class MappingNotFound(ServiceError):
    code = "mapping_not_found"
    status = 404


class TooManyKeys(ServiceError):
    code = "too_many_keys"
    status = 409


class RefreshInvalid(ServiceError):
    code = "refresh_invalid"
    status = 401


class ConversationNotFound(ServiceError):
    code = "conversation_not_found"
    status = 404


class MessageNotFound(ServiceError):
    code = "message_not_found"
    status = 404


class TurnNotFound(ServiceError):
    code = "turn_not_found"
    status = 404


class MemoryNotFound(ServiceError):
    code = "memory_not_found"
    status = 404


class DocumentNotFound(ServiceError):
    code = "document_not_found"
    status = 404


class UnsupportedDocument(ServiceError):
    """A kind of file that isn't read; the detail names those that are."""

    code = "unsupported_document"
    status = 415


class ScannedDocument(ServiceError):
    """Pages without text: pictures of it."""

    code = "scanned_document"
    status = 422


class DocumentDamaged(ServiceError):
    """The file can't be read to its end."""

    code = "document_damaged"
    status = 422


class ArchiveUnreadable(ServiceError):
    """Not an archive of conversations, or one that can't be read whole."""

    code = "archive_unreadable"
    status = 422


class ChangeNotFound(ServiceError):
    code = "change_not_found"
    status = 404


class ChangeConflict(ServiceError):
    """A decision that does not fit the change's state."""

    code = "change_state"
    status = 409


class SettingUnknown(ServiceError):
    code = "setting_unknown"
    status = 422


class DigestsGone(ServiceError):
    """A generation of digests that isn't there any more, or to which nothing more may be written."""

    code = "digests_gone"
    status = 409


class NodeNotFound(ServiceError):
    code = "node_not_found"
    status = 404


class NodeSilent(ServiceError):
    """The node is known, and doesn't answer."""

    code = "node_silent"
    status = 503


class ModelNotFound(ServiceError):
    code = "model_not_found"
    status = 404


class NoModel(ServiceError):
    """No language model is configured or reachable."""

    code = "no_model"
    status = 503


class NoNode(ServiceError):
    """Nodes have the model, and none can take the request now."""

    code = "no_node"
    status = 503


class Unsupported(ServiceError):
    """The model can't do what the request needs."""

    code = "unsupported"
    status = 400


class RemoteNotAllowed(ServiceError):
    """The model answers on a remote server, and no admin has allowed that what is asked leaves this network."""

    code = "remote_not_allowed"
    status = 403


class ContextExceeded(ServiceError):
    """The prompt is longer than the model's context; ``data`` has ``prompt_tokens`` and ``context_tokens``."""

    code = "context_exceeded"
    status = 400


class DatasetBroken(ServiceError):
    """A dataset to train on isn't what its version says."""

    code = "dataset_broken"
    status = 503


class BackendFailed(ServiceError):
    """The model's own server or library failed; ``data["reason"]`` is a bounded word."""

    code = "backend_failed"
    status = 502


class ModelDoesNotFit(ServiceError):
    """Loading the model would take more memory than there is."""

    code = "model_does_not_fit"
    status = 507


class ModelBroken(ServiceError):
    """A model file that can't be read as what it claims to be."""

    code = "model_broken"
    status = 422


class AdapterNotFound(ServiceError):
    """No node has this adapter for this model."""

    code = "adapter_not_found"
    status = 404


class AdapterBroken(ServiceError):
    """An adapter's files can't be read as what they claim to be, or ask for what isn't served."""

    code = "adapter_broken"
    status = 422


class AdapterMismatched(ServiceError):
    """An adapter was made for another model, or doesn't say for which."""

    code = "adapter_mismatched"
    status = 422


class RunUnderWay(ServiceError):
    """Another process trains in the run's folder; ``data["pid"]`` is that process, where it is known."""

    code = "run_under_way"
    status = 409


class RunNotFound(ServiceError):
    code = "run_not_found"
    status = 404


class RunLost(ServiceError):
    """Of a run in a restored backup: what it had learnt is in none."""

    code = "run_lost"
    status = 409


class TextNotFound(ServiceError):
    """There is no such text to train on in the installation."""

    code = "text_not_found"
    status = 404


class TrainingDiverged(ServiceError):
    """A run learnt for a while and then lost what it had learnt; its folder has the weights from before."""

    code = "training_diverged"
    status = 422


class TrainingUnavailable(ServiceError):
    """What training needs isn't installed where the trainer runs."""

    code = "training_unavailable"
    status = 503


class NothingToDo(ServiceError):
    """No phase of a sleep is there that was asked for."""

    code = "nothing_to_do"
    status = 409


class SleepUnderWay(ServiceError):
    """The installation sleeps already, here or on another node: one cycle goes on at a time."""

    code = "sleep_under_way"
    status = 409


class MaterialWithdrawn(ServiceError):
    """What a dataset was drawn from may no longer be trained on; ``data["turn_ids"]`` names it."""

    code = "material_withdrawn"
    status = 409


class NothingToTrainOn(ServiceError):
    """Too little may be trained on; ``data["left_out"]`` counts the exchanges that curation leaves out, by reason."""

    code = "nothing_to_train_on"
    status = 409


class DatasetNotFound(ServiceError):
    code = "dataset_not_found"
    status = 404


class AlreadyRecorded(ServiceError):
    """Under that name something else was recorded."""

    code = "already_recorded"
    status = 409


class BackupNotFound(ServiceError):
    """The installation's list has no such backup."""

    code = "backup_not_found"
    status = 404


class AdapterNotAllowed(ServiceError):
    """It was trained with other people's words, who have not let everybody use it."""

    code = "adapter_not_allowed"
    status = 403


class AdapterExists(ServiceError):
    """Another adapter has the name: what is in service never changes under it."""

    code = "adapter_exists"
    status = 409


class AdapterInUse(ServiceError):
    """It is in service: roll that back first."""

    code = "adapter_in_use"
    status = 409


class AdapterTainted(ServiceError):
    """Something that it was trained with was forgotten since."""

    code = "adapter_tainted"
    status = 409


class EncoderUnproven(ServiceError):
    """No evaluation found that the encoder finds memories better."""

    code = "encoder_unproven"
    status = 409


class ArtefactCorrupt(ServiceError):
    """An artefact isn't what its manifest says, or the manifest isn't what was signed."""

    code = "artefact_corrupt"
    status = 422


class ArtefactUnsigned(ServiceError):
    """An artefact without a signature."""

    code = "artefact_unsigned"
    status = 422


class ArtefactForeign(ServiceError):
    """Another installation signed the artefact."""

    code = "artefact_foreign"
    status = 422


class ArtefactVersion(ServiceError):
    """A newer release wrote the artefact's manifest."""

    code = "artefact_version"
    status = 422


class ArtefactClash(ServiceError):
    """A folder that was put there by hand has the artefact's name."""

    code = "artefact_clash"
    status = 409
