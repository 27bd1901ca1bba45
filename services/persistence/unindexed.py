"""Whose memories have all been indexed: a search of theirs needn't ask the database for what can't be found yet."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

_MOST_USERS = 10_000


@dataclass
class Unindexed:
    """Holds for as long as nothing was committed that may wait to be indexed, whoever's it is.

    Who looks takes ``commits`` first: what is committed while they look counts as after it.
    """

    commits: int = 0
    _none: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def committed(self) -> None:
        """Something that may have to be indexed was committed: nothing is known of anybody any more."""
        self.commits += 1

    def looked(self, user_id: str, commits: int) -> None:
        """After so many commits the user had nothing that waits."""
        self._none[user_id] = commits
        self._none.move_to_end(user_id)
        if len(self._none) > _MOST_USERS:
            self._none.popitem(last=False)

    def none_of(self, user_id: str) -> bool:
        """Whether it is known that nothing of the user's waits."""
        return self._none.get(user_id) == self.commits
