"""Whether an admin lets what is asked leave this network: off until the settings say otherwise, and told at once."""

from __future__ import annotations

from collections.abc import Callable


class Consent:
    """``RuntimeSettings.remote_models`` as this process knows it."""

    def __init__(self, allowed: bool = False) -> None:
        self._allowed = allowed
        self._listeners: list[Callable[[], None]] = []

    @property
    def allowed(self) -> bool:
        return self._allowed

    def set(self, allowed: bool) -> None:
        """Tells every listener of a change."""
        if allowed == self._allowed:
            return
        self._allowed = allowed
        for listener in tuple(self._listeners):
            listener()

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """``listener`` is called after each change, until what is returned is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
