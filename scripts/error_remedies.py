"""What each error code means to whoever meets it, and what to do: the words of ``docs/errors.md``."""

from __future__ import annotations

_WAIT = "wait as long as `retry_after_s` or `Retry-After` says, then ask again"
_LIST = "list what there is, and use an id from there"

REMEDIES: dict[str, tuple[str, str]] = {
    "internal": ("a fault of monGARS itself", "see `mongars logs` of the service, and send a `mongars support-bundle`"),
    "invalid_request": ("a field is missing, of the wrong kind, or unknown", "`errors` lists the fields: mend those"),
    "too_large": ("the body is larger than the path takes", "send less, or several requests"),
    "unavailable": ("a service, the broker or the database does not answer", "run `mongars doctor`; try again"),
    "timed_out": ("no answer came in time", "try again; if it stays so, run `mongars doctor`"),
    "forbidden": (
        "a service asked for what its key may not do",
        "run `mongars down`, `mongars up`, so that keys and rights agree",
    ),
    "overloaded": ("every queue is full", _WAIT),
    "cancelled": ("the service that was answering is stopping", "ask again: another has taken its place, or will"),
    "preempted": ("work for which nobody waits made way for a request", "nothing: it is done a little later"),
    "storage_full": (
        "a disk, or a stream's bound, is full; nothing was kept",
        "make room on the disk of the state folder",
    ),
    "not_yet_applied": ("what was just written is not yet readable", "ask again in a moment"),
    "user_not_found": ("there is no such account", "`mongars users list` names those that there are"),
    "user_exists": ("the name is taken", "choose another"),
    "last_admin": ("the last administrator can't be removed or made less", "make another administrator first"),
    "key_not_found": ("there is no such API key", "`mongars keys list` names those that there are"),
    "mapping_not_found": ("nobody is mapped so", "`mongars keys maps KEY_ID` lists for whom the key may speak"),
    "too_many_keys": ("the account has as many keys as it may have", "revoke one that is no longer used"),
    "refresh_invalid": ("the refresh token was used already, revoked, or has expired", "log in again"),
    "conversation_not_found": ("there is no such conversation of yours", _LIST),
    "message_not_found": ("there is no such message of yours", _LIST),
    "turn_not_found": (
        "there is no such answer in your conversations",
        "take the id from `x-mongars-turn-id`, or from a conversation that you read",
    ),
    "material_withdrawn": (
        "what a dataset was drawn from was forgotten, edited or withdrawn since",
        "make the dataset anew, without the turns in `turn_ids`",
    ),
    "dataset_not_found": ("there is no record of the dataset", "record it before what is trained on it"),
    "already_recorded": ("under that name something else was recorded", "choose another name"),
    "memory_not_found": ("there is no such memory of yours", _LIST),
    "document_not_found": ("there is no such document of yours", _LIST),
    "unsupported_document": ("this kind of file isn't read", "the answer names those that are"),
    "scanned_document": ("the pages are pictures of text", "run it through text recognition (OCR) first"),
    "document_damaged": ("the file can't be read to its end", "bring it again"),
    "archive_unreadable": ("it is no archive of conversations, or is damaged", "export it again at its source"),
    "change_not_found": ("there is no such change", _LIST),
    "change_state": (
        "the change is no longer in a state for this decision",
        "read it again, and decide on what it is now",
    ),
    "digests_gone": (
        "a generation of digests that is gone, or to which nothing more is written",
        "nothing: another night makes one anew",
    ),
    "setting_unknown": ("there is no such setting", "the settings list names them"),
    "node_not_found": ("there is no such node", "`/api/v1/nodes` lists them"),
    "node_silent": (
        "the node is known and does not answer: it is off, cut off, or its inference service is down",
        "while it is silent nothing is placed on it; bring it back, then drain it",
    ),
    "model_not_found": ("no node has ever offered that model", "`/v1/models` lists what is served"),
    "no_model": (
        "no language model is configured or reachable",
        "bring one: see docs/configuration.md, and `mongars doctor`",
    ),
    "no_node": ("nodes have the model, and none can take the request now", _WAIT),
    "unsupported": ("the model can't do what the request needs", "choose another model, or leave that out"),
    "remote_not_allowed": (
        "the model answers on a server beyond this network, and no admin has allowed that",
        "choose another model, or `mongars upstreams allow-remote on` (docs/upstreams.md)",
    ),
    "context_exceeded": (
        "the prompt is longer than the model's context",
        "send less, or choose a model with a longer context",
    ),
    "dataset_broken": (
        "a dataset to train on was changed, or can't be read",
        "make it again from the conversations; nothing is trained on it meanwhile",
    ),
    "adapter_exists": (
        "another adapter has the name, and what is in service never changes under it",
        "choose another name, or remove that one: `mongars models adapters rm NAME`",
    ),
    "adapter_in_use": (
        "the adapter is in service",
        "roll it back first: `mongars models adapters rollback NAME`",
    ),
    "adapter_not_allowed": (
        "the adapter was trained with other people's words, who have not let everybody use it",
        "ask for its model without it, or ask them",
    ),
    "adapter_tainted": (
        "something that the adapter was trained with was forgotten since",
        "train it anew; `--despite-taint` puts it into service all the same",
    ),
    "encoder_unproven": (
        "no evaluation found that the encoder finds memories better",
        "allow more conversations and train it anew; `--despite-verdict` puts it to use all the same",
    ),
    "artefact_clash": (
        "a folder that was put on the node by hand has the artefact's name",
        "give that folder another name; the artefact is fetched by itself then",
    ),
    "artefact_corrupt": (
        "an artefact isn't what its manifest says, or the manifest isn't what was signed",
        "remove it, and import it anew: `mongars models adapters rm NAME`, then `import FOLDER`",
    ),
    "artefact_foreign": (
        "another installation signed the artefact",
        "if you trust it, import its folder here: `mongars models adapters import FOLDER`",
    ),
    "artefact_unsigned": (
        "nobody signed the artefact",
        "import its folder: `mongars models adapters import FOLDER`",
    ),
    "artefact_version": (
        "a newer release wrote the artefact's manifest",
        "upgrade this installation",
    ),
    "backend_failed": ("the model's server or library failed", "see `mongars logs inference`; is the upstream well?"),
    "model_does_not_fit": ("the model needs more memory than there is", "choose a smaller one, or one with fewer bits"),
    "adapter_not_found": (
        "no node has that adapter for that model",
        "`/v1/models` lists each as `MODEL:ADAPTER`; `mongars nodes show` says which were refused",
    ),
    "adapter_broken": (
        "an adapter's files can't be read, or ask for what isn't served",
        "bring a plain LoRA again, as safetensors (docs/models.md)",
    ),
    "adapter_mismatched": (
        "an adapter was made for another model, or doesn't say for which",
        "name its model in its `adapter.json` (docs/models.md), or bring one that was made for it",
    ),
    "model_broken": ("the model's file can't be read as a model", "bring it again; `mongars doctor` names it"),
    "bad_request": ("well formed, and can't be meant", "`param` names the field"),
    "unsupported_parameter": ("a parameter of OpenAI's API that isn't honoured here", "leave it out"),
    "token_limit": ("more output was asked for than one request may have", "lower `max_tokens`"),
    "not_authenticated": (
        "no credential, or one of an unknown kind",
        "send `Authorization: Bearer` with a key or a token",
    ),
    "invalid_api_key": ("the key doesn't exist, was revoked or has expired", "make another: `mongars keys create`"),
    "invalid_token": ("the access token is expired, revoked or not ours", "refresh it, or log in again"),
    "invalid_credentials": (
        "name and password don't go together",
        "try again; an administrator can give a new password",
    ),
    "not_allowed": ("the role or the key may not do this", "ask an administrator, or use a key with the scope"),
    "session_required": ("an API key can't do this", "log in"),
    "password_change_required": ("a one-time password only serves to choose another", "choose a password of your own"),
    "locked_out": ("too many wrong passwords", _WAIT),
    "rate_limited": ("more requests than the limit allows", _WAIT),
    "request_timeout": ("the body took too long to arrive", "send it again, over a better connection"),
    "not_found": ("there is nothing at this path", "`/openapi.json` lists the paths"),
    "method_not_allowed": ("the path doesn't know the method", "`/openapi.json` lists the methods"),
    "run_lost": ("the run had not ended when its backup was made, and no backup has runs", "ask for it again"),
    "run_not_found": ("there is no such training run", "`mongars train status` lists them"),
    "text_not_found": (
        "there is no such text to train on",
        "put it into `training/texts` of the state folder, or name a file: `mongars train mntp --text FILE`",
    ),
    "nothing_to_train_on": (
        "too little was said that may be trained on, or too much of it is left out",
        "the detail says why: allow more with `mongars consents allow CONVERSATION` or `mongars consents future on`",
    ),
    "nothing_to_do": ("none of the phases that were asked for is there", "`mongars sleep status` lists those that are"),
    "sleep_under_way": ("the installation sleeps already", "follow it with `mongars sleep status`"),
    "training_diverged": ("a run lost what it had learnt", "train with a lower learning rate"),
    "training_unavailable": (
        "what training needs isn't installed where the trainer runs",
        "run `make install EXTRAS=trainer` there",
    ),
    "run_under_way": (
        "another process trains in the run's folder",
        "wait for its end or stop it; the message says which process it is",
    ),
    "backup_not_found": ("there is no such backup", "list the backups, and name one of those"),
}
