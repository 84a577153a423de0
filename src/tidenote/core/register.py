"""The register of one key: a multi-value register with an exact causal context, read as last-writer-wins.

A change is a register of one sibling whose context is exactly what its author had seen. `Register.join` is the only
way in which states meet. Which siblings can be settled without a person is resolve.py's matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tidenote.core.version import Change, Dot, Head


@dataclass(frozen=True, slots=True)
class Context:
    """The dots that a register has seen: all up to `floor`, and those in `dots`.

    A version vector would be wrong here: Lamport times have gaps, so the author's later write does not imply that
    its reader saw the author's earlier write of this key. Kept in normal form: no dot at or below the floor.
    """

    floor: int = 0
    dots: frozenset[Dot] = frozenset()

    def covers(self, dot: Dot) -> bool:
        """Say whether the context has seen a dot."""
        return dot.timestamp <= self.floor or dot in self.dots

    def unite(self, other: Context) -> Context:
        """Return the context that has seen what either has."""
        floor = max(self.floor, other.floor)
        return Context(floor, frozenset(dot for dot in self.dots | other.dots if dot.timestamp > floor))

    def without(self, dots: Iterable[Dot]) -> Context:
        """Return the context with some dots of its set taken out; the floor stays."""
        return Context(self.floor, self.dots.difference(dots))


@dataclass(frozen=True, slots=True)
class Register:
    """The state of one key: the changes that no other has replaced, and the causal context.

    `siblings` is ordered by dot, so equal registers compare equal.
    """

    siblings: tuple[Change, ...] = ()
    context: Context = Context()

    @classmethod
    def of(cls, change: Change) -> Register:
        """Return the register of one change: its context is exactly its base, never its own dot.

        A blind write has seen everything older than itself.
        """
        if change.base is None:
            return cls((change,), Context(floor=change.dot.timestamp - 1))
        return cls((change,), Context(dots=change.base))

    def join(self, other: Register) -> Register:
        """Return the least register that has seen what both have.

        Siblings are those of both that the united context does not cover. Laws (run as properties):
        commutative `a.join(b) == b.join(a)`, associative `a.join(b).join(c) == a.join(b.join(c))`,
        idempotent `a.join(a) == a`; hence any order and duplication of the same changes gives the same register.
        Never empty, if no input is: every base dot is smaller than its change, so nothing covers the greatest.
        """
        context = self.context.unite(other.context)
        siblings = {change.dot: change for change in (*self.siblings, *other.siblings)}
        return Register(
            tuple(siblings[dot] for dot in sorted(siblings) if not context.covers(dot)),
            context,
        )

    @property
    def dots(self) -> frozenset[Dot]:
        """The dots of the siblings."""
        return frozenset(change.dot for change in self.siblings)

    @property
    def heads(self) -> dict[Dot, Head]:
        """The dots of the siblings, each with what two replicas compare of it."""
        return {change.dot: change.head for change in self.siblings}

    @property
    def winner(self) -> Change | None:
        """The sibling that everyone shows: the greatest that is not a deletion, else the greatest; None if empty."""
        return max(self.siblings, key=lambda change: (not change.deleted, change.dot), default=None)


EMPTY = Register()
"""The register of a key that nobody wrote."""


def join_all(changes: Iterable[Change]) -> Register:
    """Return the join of the changes' own registers."""
    register = EMPTY
    for change in changes:
        register = register.join(Register.of(change))
    return register
