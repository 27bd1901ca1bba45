"""One user's index as it is searched: columns by number, terms in a large part and a small one, vectors.

A memory's number is its place in the columns; it is given once and not given again. ``base`` holds most memories,
``recent`` those that came since, with the memories whose neighbours they are now: what is in ``recent`` doesn't count
in ``base``. Readers take ``view`` once and see one state; ``add`` and ``settle`` may run in a thread, one at a time,
and replace it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.persistence import scoring
from services.persistence.nearest import Vectors, grown
from services.persistence.scoring import Part
from services.persistence.segments import Array, TermRows, VectorRows

_COLUMNS: dict[str, type] = {
    "ordinals": np.int64,
    "at": np.float64,
    "conversations": np.int32,
    "speakers": np.int32,
    "words": np.uint32,
    "traits": np.uint32,
    "judged": np.float32,
    "chosen": np.float32,
    "lengths": np.uint32,
    "starts": np.int64,
    "sizes": np.int32,
    "uses": np.int32,
    "used_at": np.float64,
    "pinned": np.bool_,
    "newer": np.int64,
    "alive": np.bool_,
}
_LEAST_ROOM = 1024
_MOST_RECENT = 4096
"""Memories in the small part before all are laid out anew."""
_SHARE_RECENT = 16
"""Of a large memory, one in so many may be in the small part."""
_NONE = -1


@dataclass(frozen=True)
class State:
    """What a user or a use set of a memory, beyond its index row."""

    uses: int = 0
    used_at: float = 0.0
    pinned: bool = False
    importance: float | None = None


@dataclass(frozen=True)
class View:
    """One state of the index: what lies below ``size`` in the columns, and where it stands in the parts."""

    size: int
    base: Part
    recent: Part
    in_recent: Array
    """By number: in which of the two parts it counts."""
    places: Array
    """By number: where in that part; −1: nowhere."""
    documents: int
    mean_length: float


def _empty_part() -> Part:
    nothing = np.zeros(0, dtype=np.int64)
    layout = scoring.lay_out(nothing, nothing, np.zeros(0, dtype=bool))
    sizes = np.zeros(len(layout.numbers), dtype=np.int32)
    return scoring.invert(layout, sizes, np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint16))


def _empty_view() -> View:
    part, nothing = _empty_part(), np.zeros(0, dtype=np.int64)
    return View(0, part, part, nothing.astype(bool), nothing.astype(np.int32), 0, 0.0)


@dataclass
class MemoryIndex:
    """Everything about one user that a search needs, and no text."""

    embedder: str | None = None
    """Whose vectors are searched."""
    vectors: Vectors | None = None
    names: list[str] = field(default_factory=list)
    view: View = field(default_factory=_empty_view)
    _names: dict[str, int] = field(default_factory=dict)
    _conversations: dict[str, int] = field(default_factory=dict)
    _hashes: Array = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    _frequencies: Array = field(default_factory=lambda: np.zeros(0, dtype=np.uint16))
    _terms: int = 0
    _taken: int = 0
    _capacity: int = 0
    _unsettled: bool = False
    _told: Array = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    """Pairs of ordinals, older and newer: facts may tell of a memory before it is here."""

    def __post_init__(self) -> None:
        self.columns: dict[str, Array] = {name: np.zeros(0, dtype=dtype) for name, dtype in _COLUMNS.items()}

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    @property
    def nbytes(self) -> int:
        """What it takes in memory, names and ids left aside."""
        view, held = self.view, (self._hashes, self._frequencies)
        columns = sum(array.nbytes for array in (*self.columns.values(), *held))
        parts = view.base.nbytes + view.recent.nbytes + view.in_recent.nbytes + view.places.nbytes
        return columns + parts + (self.vectors.nbytes if self.vectors else 0)

    @property
    def wasteful(self) -> bool:
        """Whether much was forgotten: only a load gives its room back."""
        dead = self._taken - int(np.count_nonzero(self["alive"][: self._taken]))
        return dead > max(_LEAST_ROOM, self._taken // 4)

    @property
    def settled(self) -> bool:
        """Whether nothing that was forgotten is left in the parts."""
        return not self._unsettled

    def numbers_of(self, ordinals: Array | Sequence[int]) -> Array:
        """By place in ``ordinals``: the memory's number, −1 where it isn't here."""
        wanted = np.asarray(ordinals, dtype=np.int64)
        known = self["ordinals"][: self._taken]
        if not len(known) or not len(wanted):
            return np.full(len(wanted), _NONE)
        order = np.argsort(known, kind="stable")
        # of an ordinal that was taken out and came back, the last number is the living one
        at = np.searchsorted(known, wanted, side="right", sorter=order) - 1
        found = order[np.maximum(at, 0)]
        here = (at >= 0) & (known[found] == wanted) & self["alive"][: self._taken][found]
        return np.where(here, found, _NONE)

    def reserve(self, rows: int) -> None:
        """Makes room in the columns; not in a thread, since what is written to the old ones meanwhile would be lost."""
        needed = self._taken + rows
        if needed > self._capacity:
            self._capacity = max(needed + needed // 4, _LEAST_ROOM)
            self.columns = {name: grown(array, self._capacity) for name, array in self.columns.items()}

    def add(self, terms: TermRows | None, vectors: VectorRows | None, embedder: str | None = None) -> None:
        """Takes in what isn't here yet, and makes it findable. Room for it was reserved."""
        if self.vectors is not None:
            self.vectors.reserve(self._capacity)
        touched = self._take_terms(terms) if terms is not None else np.zeros(0, dtype=np.int32)
        if vectors is not None and len(vectors):
            self._take_vectors(vectors, embedder)
        if len(touched) or self.view.size != self._taken:
            self.settle(touched)

    def _take_terms(self, rows: TermRows) -> Array:
        """The conversations that changed."""
        fresh = self.numbers_of(rows.ordinals) < 0
        count, first = int(fresh.sum()), self._taken
        here = slice(first, first + count)
        of_terms = np.repeat(fresh, rows.sizes)
        conversations = _known(self._conversations, rows.conversation_ids)[rows.conversations[fresh]]
        speakers = self._known_names(rows.names)[rows.speakers[fresh]]
        sizes = rows.sizes[fresh].astype(np.int64)
        plain = {name: getattr(rows, name)[fresh] for name in ("ordinals", "at", "words", "traits")}
        owners = np.repeat(np.arange(count), sizes)
        lengths = np.bincount(owners, weights=rows.frequencies[of_terms], minlength=count)
        starts = self._terms + np.cumsum(sizes) - sizes
        written = plain | {"sizes": sizes, "lengths": lengths, "starts": starts, "newer": _NONE, "alive": True}
        written |= {"conversations": conversations, "speakers": speakers}
        written |= {"judged": rows.importance[fresh], "chosen": np.nan}
        for name, values in written.items():
            self.columns[name][here] = values
        self._append_terms(rows.hashes[of_terms], rows.frequencies[of_terms])
        self._taken = first + count
        awaited = np.isin(self._told, rows.ordinals[fresh]).any(axis=1)
        if awaited.any():
            self._link(self._told[awaited])
        return np.unique(conversations)

    def _known_names(self, names: Iterable[str]) -> Array:
        places = _known(self._names, names)
        self.names.extend(list(self._names)[len(self.names) :])
        return places

    def _append_terms(self, hashes: Array, frequencies: Array) -> None:
        needed = self._terms + len(hashes)
        if needed > len(self._hashes):
            room = max(needed + needed // 4, _LEAST_ROOM)
            self._hashes, self._frequencies = grown(self._hashes, room), grown(self._frequencies, room)
        self._hashes[self._terms : needed] = hashes
        self._frequencies[self._terms : needed] = frequencies
        self._terms = needed

    def _take_vectors(self, rows: VectorRows, embedder: str | None) -> None:
        if self.embedder is None:
            self.embedder = embedder
        if embedder != self.embedder:
            return
        if self.vectors is None:
            self.vectors = Vectors(rows.matrix.shape[1], self._capacity)
        numbers = self.numbers_of(rows.ordinals)
        here = numbers >= 0
        self.vectors.put(numbers[here], rows.matrix[here], self._taken)

    def forget(self, ordinals: Iterable[int]) -> None:
        """Shows them no more, from now on; ``settle`` overwrites what there was."""
        numbers = self.numbers_of(list(ordinals))
        numbers = numbers[numbers >= 0]
        if len(numbers):
            self["alive"][numbers] = False
            self._unsettled = True

    def settle(self, touched: Array | None = None) -> None:
        """Lays out anew what stands around changed conversations, or everything where much changed."""
        if self._unsettled:
            self._unsettled = False
            self._erase_dead()
            self._lay_out_all()
            return
        recent = np.flatnonzero(self.view.in_recent & self["alive"][: self.view.size])
        waiting = len(recent) + self._taken - self.view.size
        if waiting > max(_MOST_RECENT, self._taken // _SHARE_RECENT):
            self._lay_out_all()
        else:
            self._lay_out_recent(touched, recent)

    def _erase_dead(self) -> None:
        dead = np.flatnonzero(~self["alive"][: self._taken])
        spans = _ranges(self["starts"][dead], self["sizes"][dead])
        self._hashes[spans], self._frequencies[spans] = 0, 0
        if self.vectors is not None:
            self.vectors.erase(dead)

    def _lay_out_all(self) -> None:
        order, conversations = self._in_order(self["alive"][: self._taken])
        base = self._part(order, conversations, np.ones(len(order), dtype=bool))
        self._show(base, _empty_part())

    def _lay_out_recent(self, touched: Array | None, recent: Array) -> None:
        changed = np.zeros(len(self._conversations), dtype=bool)
        changed[self["conversations"][recent]] = True
        if touched is not None:
            changed[touched] = True
        alive = self["alive"][: self._taken]
        order, conversations = self._in_order(alive & changed[self["conversations"][: self._taken]])
        counted = self._disturbed(order, conversations)
        part = self._part(order, conversations, counted)
        base = self._without(self.view.base, order[counted])
        self._show(base, part)

    def _in_order(self, chosen: Array) -> tuple[Array, Array]:
        """Numbers by conversation and time, of equal times by ordinal; and their conversations."""
        numbers = np.flatnonzero(chosen).astype(np.int32)
        of = self["conversations"][numbers]
        order = np.lexsort((self["ordinals"][numbers], self["at"][numbers], of))
        return numbers[order], of[order]

    def _disturbed(self, order: Array, conversations: Array) -> Array:
        """Which don't count in the base, or have other neighbours now than they have there."""
        view = self.view
        known = order < view.size
        settled = np.zeros(len(order), dtype=bool)
        inside = order[known]
        settled[known] = (view.places[inside] >= 0) & ~view.in_recent[inside]
        there = np.full((len(order), len(scoring.AROUND) - 1), _NONE, dtype=np.int64)
        there[settled] = scoring.neighbours(view.base.layout.numbers, view.places[order[settled]])
        settled &= (there == scoring.around(order, conversations)).all(axis=1)
        return np.logical_not(settled)

    def _without(self, base: Part, numbers: Array) -> Part:
        view = self.view
        known = numbers[numbers < view.size]
        moved = known[(view.places[known] >= 0) & ~view.in_recent[known]]
        if not len(moved):
            return base
        counted = base.layout.counted.copy()
        counted[view.places[moved]] = False
        layout = scoring.Layout(base.layout.numbers, counted)
        return Part(layout, base.lengths, base.hashes, base.starts, base.places, base.frequencies)

    def _part(self, order: Array, conversations: Array, counted: Array) -> Part:
        layout = scoring.lay_out(order, conversations, counted)
        here = layout.numbers >= 0
        shown = layout.numbers[here]
        sizes = np.zeros(len(here), dtype=np.int64)
        sizes[here] = self["sizes"][shown]
        spans = _ranges(self["starts"][shown], self["sizes"][shown])
        return scoring.invert(layout, sizes, self._hashes[spans], self._frequencies[spans])

    def _show(self, base: Part, recent: Part) -> None:
        size = self._taken
        places, in_recent = np.full(size, _NONE, dtype=np.int32), np.zeros(size, dtype=bool)
        for part, is_recent in ((base, False), (recent, True)):
            at = np.flatnonzero(part.layout.counted)
            numbers = part.layout.numbers[at]
            places[numbers], in_recent[numbers] = at, is_recent
        alive = self["alive"][:size]
        documents = int(np.count_nonzero(alive))
        total = float(self["lengths"][:size][alive].sum())
        self.view = View(size, base, recent, in_recent, places, documents, total / max(documents, 1))

    def importance(self, numbers: Array) -> Array:
        """As the user chose it, else as it was judged."""
        chosen = self["chosen"][numbers]
        return np.where(np.isnan(chosen), self["judged"][numbers], chosen)

    def set_states(self, states: Mapping[int, State]) -> None:
        """What is known of memories by ordinal; of one that isn't here nothing."""
        for number, state in zip(self.numbers_of(list(states)), states.values(), strict=True):
            if number >= 0:
                self["uses"][number], self["used_at"][number] = state.uses, state.used_at
                self._choose(number, state.pinned, state.importance)

    def choose(self, ordinal: int, pinned: bool, importance: float | None) -> None:
        """What the user sets; an importance of None leaves it to what was judged."""
        (number,) = self.numbers_of([ordinal])
        if number >= 0:
            self._choose(number, pinned, importance)

    def _choose(self, number: int, pinned: bool, importance: float | None) -> None:
        self["pinned"][number] = pinned
        self["chosen"][number] = np.nan if importance is None else importance

    def count_use(self, ordinals: Sequence[int], at: float) -> None:
        """They stood in a prompt once more."""
        numbers = self.numbers_of(ordinals)
        numbers = numbers[numbers >= 0]
        self["uses"][numbers] += 1
        self["used_at"][numbers] = np.maximum(self["used_at"][numbers], at)

    def set_newer(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Which memory tells otherwise since then: (older, newer) ordinals, all there are."""
        self._told = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
        self["newer"][:] = _NONE
        self._link(self._told)

    def _link(self, known: Array) -> None:
        older, newer = self.numbers_of(known[:, 0]), self.numbers_of(known[:, 1])
        here = (older >= 0) & (newer >= 0) & (older != newer)
        self["newer"][older[here]] = newer[here]


def _known(known: dict[str, int], values: Iterable[str]) -> Array:
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int32)


def _ranges(starts: Array, sizes: Array) -> Array:
    """starts[0], starts[0] + 1, … for each start as many as its size."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    result: Array = np.arange(total) + np.repeat(starts - (ends - sizes), sizes)
    return result
