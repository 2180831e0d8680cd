"""The effect on every single question: which were won, which were lost, and by how much."""

from collections.abc import Mapping
from dataclasses import dataclass

from ernie_search.evaluation.measures import Measured
from ernie_search.evaluation.ranking import ranked
from ernie_search.types import Qrels, Run


@dataclass(frozen=True, slots=True)
class Effect:
    """One question in two runs.

    Attributes:
        query: its id.
        value, other: the measure in the run and in the one it is compared with.
        rank, other_rank: of the first relevant passage, from 1; ``None`` where none was found.
    """

    query: str
    value: float
    other: float
    rank: int | None = None
    other_rank: int | None = None

    @property
    def difference(self) -> float:
        """``value`` minus ``other``: above 0 the question was won."""
        return self.value - self.other


def first_ranks(run: Run, qrels: Qrels) -> dict[str, int | None]:
    """For each judged question the rank, from 1, of its first relevant passage; ``None``: not found."""
    found: dict[str, int | None] = {}
    for query, grades in qrels.items():
        order = ranked(run.get(query, {}), query)
        found[query] = next((rank for rank, one in enumerate(order, 1) if grades.get(one, 0) > 0), None)
    return found


def effects(
    own: Measured,
    other: Measured,
    measure: str,
    ranks: Mapping[str, int | None] | None = None,
    other_ranks: Mapping[str, int | None] | None = None,
) -> list[Effect]:
    """Every question's effect, the best won first, the worst lost last; equal ones by id.

    Args:
        own, other: measured over the same questions.
        measure: which.
        ranks, other_ranks: see :func:`first_ranks`.
    """
    rows = zip(own.query_ids, own.of(measure).tolist(), other.of(measure).tolist(), strict=True)
    found = [
        Effect(query, value, before, (ranks or {}).get(query), (other_ranks or {}).get(query))
        for query, value, before in rows
    ]
    return sorted(found, key=lambda effect: (-effect.difference, effect.query))


def won(found: list[Effect], number: int) -> list[Effect]:
    """The ``number`` questions won by most."""
    return [effect for effect in found[:number] if effect.difference > 0]


def lost(found: list[Effect], number: int) -> list[Effect]:
    """The ``number`` questions lost by most, the worst first."""
    worst = sorted(found[-number:] if number else [], key=lambda effect: (effect.difference, effect.query))
    return [effect for effect in worst if effect.difference < 0]
