"""What new statements do to known facts: each key's timeline is laid out anew from all that was said of it. Pure.

An attribute that a person has but one value of is one lane: a newer value ends the older. Otherwise each value has a
lane of its own, which only a negation ends. Since the whole timeline is computed from the times of the statements, it
does not matter in which order they arrive; a statement that tells once more what holds becomes a further source of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from libs.shared.contracts.keeping import FactChange
from libs.shared.contracts.memory import Fact
from services.cognition.extraction.attributes import is_single, spoken_of, stored
from services.cognition.extraction.drawn import Drawn, value_key

MOST_SOURCES = 32
"""Of one fact; who says it still more often adds nothing."""

Name = Callable[[Drawn], str]
"""The id of the fact that a statement begins: the same statement from the same source has the same."""


@dataclass(frozen=True)
class Statement:
    """That something held, or no longer did, at a time. ``known`` is the fact that it was read from, if any."""

    drawn: Drawn
    at: datetime
    known: Fact | None = None

    @property
    def key(self) -> tuple[str, ...]:
        return value_key(self.drawn.value)

    @property
    def order(self) -> tuple[object, ...]:
        """In time; at one moment an end comes before a beginning."""
        return (self.at, not self.drawn.ended, self.drawn.said_at, self.drawn.source, self.key)


@dataclass(eq=False)
class _Run:
    """Statements of one value that nothing interrupts: one fact."""

    first: Statement
    statements: list[Statement]
    end: datetime | None = None
    by: _Run | None = None

    @property
    def known(self) -> Fact | None:
        return next((s.known for s in self.statements if s.known is not None), None)

    def joins(self, statement: Statement) -> bool:
        """Facts that are known as two stay two."""
        same = statement.key == self.first.key
        return same and (statement.known is None or self.known in (None, statement.known))


@dataclass
class _Timeline:
    """The runs of one key; ``lanes`` are those that nothing has ended yet, ``ends`` the negations that still hold."""

    single: bool
    runs: list[_Run] = field(default_factory=list)
    lanes: dict[tuple[str, ...], _Run] = field(default_factory=dict)
    ends: dict[tuple[str, ...], _Run] = field(default_factory=dict)

    def add(self, statement: Statement) -> None:
        if statement.drawn.ended:
            self._end(statement)
        else:
            self._begin(statement)

    def _begin(self, statement: Statement) -> None:
        run = self._continued(self.lanes, () if self.single else statement.key, statement)
        for key in [key for key in self.ends if ends(key, statement.key)]:
            _close(self.ends.pop(key), statement.at, run)

    def _end(self, statement: Statement) -> None:
        run = self._continued(self.ends, statement.key, statement)
        for lane in [lane for lane, open_ in self.lanes.items() if ends(statement.key, open_.first.key)]:
            _close(self.lanes.pop(lane), statement.at, run)

    def _continued(self, open_: dict[tuple[str, ...], _Run], lane: tuple[str, ...], statement: Statement) -> _Run:
        before = open_.get(lane)
        if before is not None and before.joins(statement):
            before.statements.append(statement)
            return before
        run = open_[lane] = _Run(statement, [statement])
        self.runs.append(run)
        if before is not None:
            _close(before, statement.at, run)
        return run


def ends(negated: tuple[str, ...], held: tuple[str, ...]) -> bool:
    """Whether a negation speaks of a value: of all when it names none, else when its words are among the value's."""
    return not any(negated) or set(negated) <= set(held)


def _close(run: _Run, at: datetime, by: _Run) -> None:
    run.end = at
    run.by = None if by.first.key == run.first.key and by.first.drawn.ended == run.first.drawn.ended else by


def reconcile(drawn: Sequence[Drawn], known: Sequence[Fact], name: Name) -> tuple[list[Fact], list[FactChange]]:
    """New facts and changes of known ones, of one subject and attribute (its negations included)."""
    attribute = drawn[0].attribute if drawn else spoken_of(known[0].attribute)[0]
    timeline = _Timeline(is_single(attribute))
    said = [s for fact in known for s in statements_of(fact)]
    said += [Statement(d, d.at) for d in _new(drawn, known, name)]
    for statement in sorted(said, key=lambda s: s.order):
        timeline.add(statement)
    return _differences(timeline.runs, name)


def statements_of(fact: Fact) -> list[Statement]:
    """What a known fact was drawn from, each at its time; what was said after its end belongs to another fact."""
    times = dict(zip(fact.sources, fact.said_at, strict=False)) or dict.fromkeys(fact.sources, fact.valid_from)
    found: list[Statement] = []
    for source, said_at in sorted(times.items(), key=lambda item: (item[1], item[0])):
        at = max(said_at, fact.valid_from) if found else fact.valid_from
        if found and fact.valid_to is not None and at >= fact.valid_to:
            continue
        found.append(Statement(_read_back(fact, source, said_at), at, fact))
    return found


def _read_back(fact: Fact, source: str, said_at: datetime) -> Drawn:
    attribute, ended = spoken_of(fact.attribute)
    return Drawn(
        subject=fact.subject,
        attribute=attribute,
        value=fact.value,
        text=fact.text,
        at=fact.valid_from,
        source=source,
        said_at=said_at,
        extractor=fact.extractor,
        mark=fact.id,
        ended=ended,
    )


def _new(drawn: Iterable[Drawn], known: Sequence[Fact], name: Name) -> Iterable[Drawn]:
    """Those that no known fact holds already: neither as its beginning nor as a further source."""
    ids = {fact.id for fact in known}
    told = {(source, spoken_of(fact.attribute)[1], value_key(fact.value)) for fact in known for source in fact.sources}
    return (d for d in drawn if name(d) not in ids and (d.source, d.ended, value_key(d.value)) not in told)


def _differences(runs: Sequence[_Run], name: Name) -> tuple[list[Fact], list[FactChange]]:
    ids: dict[int, str] = {}
    taken: set[str] = set()
    for run in runs:
        fact = run.known
        again = fact is None or fact.id in taken
        ids[id(run)] = name(run.first.drawn) if again or fact is None else fact.id
        taken.add(ids[id(run)])
    facts: list[Fact] = []
    changes: list[FactChange] = []
    for run in runs:
        by = ids[id(run.by)] if run.by is not None else None
        if run.known is None or run.known.id != ids[id(run)]:
            facts.append(_fact(run, ids[id(run)], by))
        elif (change := _change(run, run.known, by)) is not None:
            changes.append(change)
    return facts, changes


def _fact(run: _Run, fact_id: str, by: str | None) -> Fact:
    drawn = run.first.drawn
    return Fact(
        id=fact_id,
        subject=drawn.subject,
        attribute=stored(drawn.attribute, ended=drawn.ended),
        value=drawn.value,
        text=drawn.text,
        sources=_sources(run)[:MOST_SOURCES],
        valid_from=run.first.at,
        valid_to=run.end,
        superseded_by=by,
        extractor=drawn.extractor,
    )


def _change(run: _Run, fact: Fact, by: str | None) -> FactChange | None:
    further = tuple(s for s in _sources(run) if s not in fact.sources)[: max(0, MOST_SOURCES - len(fact.sources))]
    earlier = run.first.at if run.first.at < fact.valid_from else None
    if (run.end, by) == (fact.valid_to, fact.superseded_by) and not further and earlier is None:
        return None
    return FactChange(id=fact.id, valid_to=run.end, superseded_by=by, valid_from=earlier, sources=further)


def _sources(run: _Run) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s.drawn.source for s in run.statements))
