"""What the words of a degraded installation mean, and what mends each."""

from __future__ import annotations

_WHOLE = {
    "no-model": "no language model: answers are quoted from memory (mongars models pull brings one; or start Ollama)",
    "disk-full": "the disk is full: what is remembered can be read, and nothing new is kept until there is room",
    "ledger": "the ledger of changes does not agree with itself: settings can't be changed (see: mongars logs "
    "persistence)",
    "ray-not-installed": "Ray is not installed, so local models run inside inference (make install EXTRAS=ray)",
    "ray-needs-memory": "this machine has less memory than Ray is worth, so local models run inside inference",
    "remote-models": "an admin allows remote models: what is asked of one that is marked remote leaves this network "
    "(mongars upstreams allow-remote off ends it)",
    "ray: starting": "Ray is starting: its models will be served in a moment",
}
_REASONS = {
    "loading": "is being loaded",
    "looking": "is being looked for",
    "model_broken": "its files are broken or incomplete: bring them again",
    "model_does_not_fit": "does not fit into this machine's memory: choose a smaller one, or one with fewer bits",
    "model_not_found": "is not where models.json or MONGARS_MODELS says",
    "name-taken": "another model has its name: give each its own",
    "unreadable-configuration": "can't be read: it is a JSON list of models (see docs/configuration.md)",
    "internal": "can't be loaded (see: mongars logs inference)",
    "unsupported": "needs what isn't installed here (see: mongars logs inference)",
    "gpu-idle": "is a GPU that nothing here uses: start Ollama, which uses it and is found unasked "
    "(https://ollama.com), or add a server that does (mongars upstreams add URL); docs/upstreams.md has more",
    "gpu-without-driver": "is a GPU without its driver: install NVIDIA's, restart the machine, and start Ollama",
    "remote-not-allowed": "lies beyond this network, so its models are not offered (an admin allows it with: mongars "
    "upstreams allow-remote on)",
    "adapter_broken": "is an adapter whose files can't be used: bring it again",
    "adapter_mismatched": "is an adapter of another model, or of other files of it than are here",
    "artefact_corrupt": "is an adapter that is not what was signed: remove it, and import it anew",
    "artefact_unsigned": "is an adapter that nobody signed: import it with mongars models adapters import",
    "artefact_foreign": "is an adapter that another installation signed: import its folder here anew",
    "artefact_version": "is an adapter of a newer release: upgrade this one",
    "artefact_clash": "is the name of an adapter's folder that was put there by hand: give that another name",
    "storage_full": "finds no room on its node's disk",
    "backend_failed": "could not be loaded (see: mongars logs inference)",
}
_UNREACHABLE = "-unreachable"
_PASSING = ("loading", "looking")

NOTICES = frozenset({"remote-models"})
"""Words for what is as somebody wants it, and worth knowing all the same."""


def passing(word: str) -> bool:
    """Whether it is said for a moment only: a model is being loaded, or a server looked for."""
    return word.endswith(_PASSING)


def explained(word: str) -> str:
    """The word itself, where nothing is known of it."""
    if word in _WHOLE:
        return _WHOLE[word]
    if word.endswith(_UNREACHABLE):
        return f"{word.removesuffix(_UNREACHABLE)} does not answer: its models are not served until it does"
    label, separator, reason = word.rpartition(": ")
    return f"{label}: {_REASONS[reason]}" if separator and reason in _REASONS else word
