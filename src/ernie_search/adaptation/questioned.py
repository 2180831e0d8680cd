"""A collection with the questions that were made of its passages, as if they had been labelled."""

from collections.abc import Sequence

from ernie_search._util.files import fingerprint
from ernie_search._util.lines import Placed, Report, stop
from ernie_search.adaptation.questions import Question
from ernie_search.adaptation.sample import share
from ernie_search.data import Collection
from ernie_search.data.collection import WrappedCollection, order_splits
from ernie_search.errors import DataError
from ernie_search.types import Judgement, Qrels, Query

TRAIN, DEV, HELD_OUT, LABELLED = "train", "dev", "held-out", "labelled"
"""``train`` is learnt from; ``held-out`` (made) and ``labelled`` (a person's) questions only measure."""
HELD_LABELS = 0.2
"""Share of the labelled training questions that only measure, where there is no split ``dev``."""


def suffices(labels: int, labels_alone: int) -> bool:
    """Whether so many labelled training questions are learnt from without made ones; 0: never."""
    return 0 < labels_alone <= labels


class QuestionedCollection(WrappedCollection):
    """Another collection's passages, with made questions in place of its splits.

    Split ``train`` has the made questions that are learnt from, each with its own passage as label, and the
    collection's own training questions. ``held-out`` has the made questions that only measure. ``labelled``
    has the collection's own dev questions; where it has none, those of its training questions whose passages
    a hash draws, a fifth, which are then no training questions. Its split ``test`` is never read.

    Args:
        inner: the collection; its fingerprint is computed once.
        questions: made of its passages, of both splits.
        labels: whether its own splits count.

    Raises:
        DataError: a made question has the id of one of the collection's own.
    """

    def __init__(self, inner: Collection, questions: Sequence[Question], *, labels: bool = True) -> None:
        super().__init__(inner)
        self._queries: dict[str, list[Query]] = {TRAIN: [], HELD_OUT: [], LABELLED: []}
        self._qrels: dict[str, Qrels] = {TRAIN: {}, HELD_OUT: {}, LABELLED: {}}
        self.labels = 0
        if labels:
            self._take_labels(inner)
        own = {one.id for some in self._queries.values() for one in some}
        for one in questions:
            if one.id in own:
                raise DataError(
                    f"{inner.source}: a made question and one of its own have the id {one.id!r}; "
                    "give the made one another"
                )
            self._queries[one.split].append(one.query)
            self._qrels[one.split][one.id] = {one.passage: 1}
        asked = {split: [[one.id, one.text] for one in some] for split, some in self._queries.items()}
        self._fingerprint = fingerprint("questioned", inner.fingerprint, asked, self._qrels)

    def _take_labels(self, inner: Collection) -> None:
        splits = [split for split in (TRAIN, DEV) if split in inner.splits]
        for split in splits:
            qrels = inner.qrels(split)
            for query in inner.queries(split):
                relevant = {one: grade for one, grade in qrels[query.id].items() if grade > 0}
                if not relevant:
                    continue
                held = split == DEV or (
                    DEV not in splits and share(0, "labelled", min(relevant)) < HELD_LABELS
                )
                place = LABELLED if held else TRAIN
                if query.id not in self._qrels[TRAIN]:  # one in both splits is learnt from
                    self._queries[place].append(query)
                    self._qrels[place][query.id] = relevant
        self.labels = len(self._queries[TRAIN])

    @property
    def splits(self) -> list[str]:
        """Those of the three that have a question."""
        return order_splits(split for split, some in self._queries.items() if some)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the passages and of all questions."""
        return self._fingerprint

    def queries(self, split: str) -> list[Query]:
        """The split's questions: a person's, then the made ones; DataError for one that is not there."""
        self.check_split(split)
        return list(self._queries[split])

    def qrels(self, split: str) -> Qrels:
        """The split's labels; DataError for one that is not there."""
        self.check_split(split)
        return {query: dict(row) for query, row in self._qrels[split].items()}

    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """Each question with its split as its place."""
        return (
            (f"{self.source}: split {split!r}", query)
            for split in self.splits
            for query in self._queries[split]
        )

    def read_split(self, split: str, report: Report) -> Placed[Judgement]:
        """Each label of the split."""
        return (
            (f"{self.source}: split {split!r}", Judgement(query, passage, grade))
            for query, row in self._qrels[split].items()
            for passage, grade in row.items()
        )
