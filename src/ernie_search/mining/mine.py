"""Mining of hard negatives from any run: the best-ranked passages that are not positives or copies."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from ernie_search._util.settings import TypedSettings, between_commas
from ernie_search._util.trec import stream_run
from ernie_search.data import Collection
from ernie_search.data.near_duplicates import jaccard
from ernie_search.errors import DataError
from ernie_search.mining.lists import Lists, TrainingList, write_lists
from ernie_search.mining.negatives import best_first, generator_of, relevant_elsewhere
from ernie_search.mining.passage_table import Known, PassageTable, temporary_file_errors

FILL_DRAWS = 1000
"""Random passages tried to fill one list, beside the excluded ones."""

Counts = dict[str, int]
COUNTED = (
    "candidates",
    "outside_window",
    "known_positives",
    "own_passages",
    "left_out",
    "duplicates_of_positives",
    "near_duplicates",
    "not_needed",
    "kept",
    "denoised",
    "filled",
    "short",
    "mined",
    "unjudged",
    "without_positives",
    "absent",
)
"""What is counted. Passages: the ``candidates`` of the mined questions are ``outside_window``,
``known_positives``, ``own_passages`` (the question itself, where questions are passages, and copies of its
text), ``left_out`` (relevant in another split, or a copy of such), ``duplicates_of_positives``,
``near_duplicates``, ``not_needed`` (the list was full) or ``kept``;
beside them come ``filled`` (drawn at random) and ``denoised`` (later, by a teacher). Questions: ``mined``,
and those of them that stayed ``short`` even so; left out, ``unjudged`` and ``without_positives``; judged, but
``absent`` from the run."""


class MineSettings(TypedSettings):
    """Which passages of a run become hard negatives.

    Attributes:
        first: ranks skipped at the top (0: none), where positives that nobody judged are likeliest.
        last: the rank, counted from 0 and known positives included, at which the window ends.
        number: negatives kept per question.
        near_duplicate: 4-gram Jaccard similarity to a positive, or to a negative kept before, above which a
            passage is left out; 0 turns this off. 0.5 is what ``data.near_duplicates`` splits collections by.
        seed: of the passages that fill a list which the window leaves too short.
        leave_out: other splits (dev, test), whose relevant passages are no negatives: one that is pushed away
            from training questions may be ranked lower for the questions that it answers.
    """

    first: int = Field(0, ge=0)
    last: int = Field(100, ge=1)
    number: int = Field(16, ge=1)
    near_duplicate: float = Field(0.5, ge=0, lt=1)
    seed: int = Field(0, ge=0)
    leave_out: list[str] = Field(default_factory=list)

    _between_commas = field_validator("leave_out", mode="before")(between_commas)

    @model_validator(mode="after")
    def _window_has_ranks(self) -> Self:
        if self.last <= self.first:
            raise ValueError(f"last={self.last} is not above first={self.first}; widen the window of ranks")
        return self


def mine_lists(
    run: Iterable[tuple[str, Mapping[str, float]]] | Path | str,
    collection: Collection,
    output: Path,
    settings: MineSettings | None = None,
    *,
    split: str = "train",
    about: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Lists:
    """Write the hard negatives of every judged question of ``run``, beside its positives, as training lists.

    For each question, in this order: ranks outside the window out; known positives out; the passage with the
    question's own id out, as the evaluation drops it (in ArguAna and Quora questions are passages); then,
    with ``leave_out``, what is relevant in those splits out, with copies of it; then,
    from the best rank down until ``number`` are kept, texts out that equal the question's, that passage's or
    a positive's (but for case and white space), and texts out that nearly equal that passage's, a positive's
    or a kept negative's. A list that the window leaves too
    short is filled with random other passages that pass the same tests, none of them from a rank above the
    window's end. Equal scores are ranked by passage id. What a question gets depends on the settings, its
    id, its own passages and the corpus: not on the other questions.

    Memory: one question's scores and texts, ``passage_table.RECENT`` passages' 4-grams, SQLite's cache, and
    ``lists.ROW_GROUP`` lists; it grows with neither the corpus nor the questions. Texts, judgements and the
    ids of the questions that came lie in a temporary file (:class:`PassageTable`).

    Args:
        run: a TREC run file of any system (plain or gzip, a question's lines together), or pairs of question
            id and scores (passage id -> score, higher is better) as they come.
        collection: has the passages, and the judgements that say what is positive.
        output: the folder of the lists, replaced if it holds lists already.
        settings: window, number, duplicates; the defaults of ``MineSettings``.
        split: whose questions are mined.
        about: further entries of the manifest (the model that made the run, say).
        progress: called with the number of questions read since its last call.

    Returns:
        The lists; ``manifest["counts"]`` has all of ``COUNTED``.

    Raises:
        SettingsError: ``leave_out`` names ``split`` itself.
        DataError: a positive, or a passage of the run, that the corpus lacks; an unknown split in
            ``leave_out``; a score that is not a number; a question that comes twice; a broken run file; no
            question that is in both run and judgements.
        StorageError: the disk is full or not writable; nothing is left behind.
    """
    settings = settings or MineSettings()
    counts = dict.fromkeys(COUNTED, 0)
    rankings: Iterable[tuple[str, Mapping[str, float]]]
    if isinstance(run, Path | str):
        where, name, rankings = str(run), Path(run).name, stream_run(Path(run))
    else:
        where, name, rankings = "the run", None, run
    manifest = {
        **(about or {}),
        "made_by": "mine",
        "run": name,
        "split": split,
        "settings": settings.model_dump(include=set(MineSettings.model_fields)),
        "counts": counts,
    }
    held = relevant_elsewhere(collection, settings.leave_out, split)
    with temporary_file_errors(), PassageTable(collection, split, grams=settings.near_duplicate > 0) as table:
        miner = _Miner(table, settings, counts, where, collection.source)
        miner.hold(held)
        lists = miner.lists(rankings, progress or (lambda _: None))
        return write_lists(Path(output), lists, data_fingerprint=collection.fingerprint, about=manifest)


class _Miner:
    """Mines the list of each question, and counts what is left out and why."""

    def __init__(
        self, table: PassageTable, settings: MineSettings, counts: Counts, run: str, source: str
    ) -> None:
        self._table, self._settings, self._counts = table, settings, counts
        self._run, self._source = run, source
        self._held: set[bytes] = set()

    def hold(self, passages: Iterable[str]) -> None:
        """Take these passages, and copies of their texts, as nobody's negatives."""
        known = (self._table.passage(passage) for passage in passages)
        self._held = {one.key for one in known if one is not None}

    def lists(
        self, rankings: Iterable[tuple[str, Mapping[str, float]]], progress: Callable[[int], None]
    ) -> Iterator[TrainingList]:
        """Yield the list of each question that has positives."""
        judged = 0
        for query, scores in rankings:
            if not self._table.first_time(query):
                raise DataError(
                    f"{self._run}: question {query!r} comes twice; group the lines of each question "
                    "(sort -s -k1,1)"
                )
            positives = self._table.positives(query)
            judged += positives is not None
            if positives:
                self._counts["mined"] += 1
                yield self._list(query, positives, scores)
            else:
                self._counts["unjudged" if positives is None else "without_positives"] += 1
            progress(1)
        self._counts["absent"] = self._table.judged - judged

    def _list(self, query: str, positives: list[str], scores: Mapping[str, float]) -> TrainingList:
        ranks = {
            passage: rank
            for rank, passage in enumerate(best_first(scores, f"{self._run}: question {query!r}"), start=1)
        }
        chosen = _Chosen(self._settings.near_duplicate)
        for passage in positives:
            known = self._table.passage(passage)
            if known is None:
                raise DataError(
                    f"{self._source}: question {query!r}: its positive {passage!r} is not in the corpus; "
                    "add it or drop the judgement"
                )
            chosen.add_positive(known)
        chosen.add_question(self._table.question_key(query), self._table.passage(query))
        negatives = self._from_window(query, list(ranks), set(positives), chosen)
        self._counts["kept"] += len(negatives)
        if len(negatives) < self._settings.number:
            excluded = {query, *positives, *list(ranks)[: self._settings.last]}
            filled = self._fill(query, excluded, chosen, self._settings.number - len(negatives))
            self._counts["filled"] += len(filled)
            self._counts["short"] += len(negatives) + len(filled) < self._settings.number
            # A random passage may stand in the run, below the window; it was drawn all the same.
            ranks.update(dict.fromkeys(filled, 0))
            negatives += filled
        return TrainingList(
            query,
            tuple(positives),
            tuple(negatives),
            negative_ranks=tuple(ranks[passage] for passage in negatives),
        )

    def _from_window(
        self, query: str, ranked: list[str], positives: set[str], chosen: "_Chosen"
    ) -> list[str]:
        """The best passages of the window that stay as negatives."""
        counts, number = self._counts, self._settings.number
        window = ranked[self._settings.first : self._settings.last]
        others = [passage for passage in window if passage not in positives]
        candidates = [passage for passage in others if passage != query]
        counts["candidates"] += len(ranked)
        counts["outside_window"] += len(ranked) - len(window)
        counts["known_positives"] += len(window) - len(others)
        counts["own_passages"] += len(others) - len(candidates)
        negatives: list[str] = []
        for place, passage in enumerate(candidates):
            if len(negatives) == number:
                counts["not_needed"] += len(candidates) - place
                break
            known = self._table.passage(passage)
            if known is None:
                raise DataError(
                    f"{self._run}: question {query!r}: passage {passage!r} is not in {self._source}; "
                    "is the run of another corpus?"
                )
            problem = "left_out" if known.key in self._held else chosen.add_negative(known)
            if problem:
                counts[problem] += 1
            else:
                negatives.append(passage)
        return negatives

    def _fill(self, query: str, excluded: set[str], chosen: "_Chosen", number: int) -> list[str]:
        """Up to ``number`` random passages that pass the same tests as those of the window."""
        generator = generator_of(self._settings.seed, query)
        filled: list[str] = []
        for row in _random_rows(generator, self._table.passages, FILL_DRAWS + len(excluded)):
            passage = self._table.id_of(row)
            known = None if passage in excluded else self._table.passage(passage)
            if known is not None and known.key not in self._held and not chosen.add_negative(known):
                filled.append(passage)
                if len(filled) == number:
                    break
        return filled


def _random_rows(generator: random.Random, total: int, number: int) -> Iterator[int]:
    """Yield up to ``number`` distinct elements of ``range(total)``, drawn as needed."""
    if total <= number:
        yield from generator.sample(range(total), total)
        return
    seen: set[int] = set()
    while len(seen) < number:
        row = generator.randrange(total)
        if row not in seen:
            seen.add(row)
            yield row


class _Chosen:
    """A question's positives and the negatives kept so far, with which the next one is compared."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._positive_keys: set[bytes] = set()
        self._own_keys: set[bytes] = set()
        self._keys: set[bytes] = set()
        self._grams: list[set[int]] = []
        self._all_grams: set[int] = set()

    def add_positive(self, known: Known) -> None:
        """Add a positive, without any test."""
        self._positive_keys.add(known.key)
        self._add(known)

    def add_question(self, key: bytes | None, known: Known | None) -> None:
        """Add the question's own text, and the passage with its id, which is the question where there is one.

        Near copies are excluded only of the passage: a short question nearly equals much that answers it.
        """
        if key is not None:
            self._own_keys.add(key)
        if known is not None:
            self._own_keys.add(known.key)
            self._add(known)

    def add_negative(self, known: Known) -> str | None:
        """Add a negative; or return under which name of :data:`COUNTED` it is left out."""
        if known.key in self._own_keys - self._positive_keys:
            return "own_passages"
        if known.key in self._positive_keys:
            return "duplicates_of_positives"
        if self._threshold and (known.key in self._keys or self._near(known.grams)):
            return "near_duplicates"
        self._add(known)
        return None

    def _add(self, known: Known) -> None:
        self._keys.add(known.key)
        if self._threshold:
            self._grams.append(known.grams)
            self._all_grams |= known.grams

    def _near(self, grams: set[int]) -> bool:
        # More than t of all 4-grams shared with one text is more than t of our own shared with all of them:
        # one intersection settles most.
        if len(grams & self._all_grams) <= self._threshold * len(grams):
            return False
        return any(jaccard(grams, other) > self._threshold for other in self._grams)
