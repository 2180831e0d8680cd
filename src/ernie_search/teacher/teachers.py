"""Teachers: one cross-encoder, or several of which each scores the questions it was not trained on."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Collection as Ids
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from ernie_search._util.files import fingerprint, read_json
from ernie_search.data import Collection
from ernie_search.errors import DataError, ModelError, SettingsError
from ernie_search.mining.negatives import best_first
from ernie_search.model.cross_encoder import (
    Pair,
    cross_encoder_fingerprint,
    load_cross_encoder,
    score_pairs,
)
from ernie_search.runtime.saved_files import one_line
from ernie_search.training.folder import TRAINING_FILE
from ernie_search.types import Run


def fold_of(positives: Iterable[str], folds: int) -> int:
    """The fold of a question, ``0 .. folds - 1``, by a hash of its first positive.

    Teacher ``k`` is trained on the questions that are not in fold ``k``, and scores those that are.

    Args:
        positives: ids of all its known positives, in any order; the first in the order of ids decides.
        folds: how many.
    """
    digest = hashlib.sha256(f"fold:{min(positives)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % folds


def trains_on(teacher: int, positives: Iterable[str], folds: int) -> bool:
    """Whether this teacher is trained on the question; with one fold the only teacher is trained on all."""
    return folds == 1 or fold_of(positives, folds) != teacher


TEACHERS_FILE = "teachers.json"
"""What a folder of trained teachers holds; written last."""
FORMAT = 2
"""Goes up when teachers in an older format can't be used; 1 had folds by the question's id."""


class Teachers:
    """The cross-encoders of one teacher folder, or a single ready one; they are loaded on first use.

    Attributes:
        name: of the folder, or on the hub; for messages.
        models: directory or hub name of each; teacher ``k`` has not seen the questions of fold ``k``.
    """

    def __init__(
        self,
        name: str,
        models: Sequence[str | Path],
        *,
        expected: Sequence[str] = (),
        max_length: int | None = None,
        device: str | None = None,
    ) -> None:
        """Prepare teachers; :meth:`open` does so from a folder.

        Args:
            name, models: see the attributes.
            expected: fingerprints of the models at their own length, which must be theirs still.
            max_length, device: see :meth:`open`.
        """
        self.name = name
        self.models = list(models)
        self._expected, self._max_length, self._device = list(expected), max_length, device

    @staticmethod
    def open(
        path_or_name: str | Path, *, max_length: int | None = None, device: str | None = None
    ) -> "Teachers":
        """The teachers of a folder that ``train_teachers`` made, or one ready cross-encoder.

        Args:
            path_or_name: that folder, a cross-encoder's directory, or a name on the hub.
            max_length: tokens kept of a pair; by default each model's own.
            device: where to; by default a GPU where there is one.

        Raises:
            ModelError: a folder whose teachers are not finished. What else is wrong shows on first use.
        """
        folder = Path(path_or_name)
        name = str(path_or_name)
        if (folder / TEACHERS_FILE).is_file():
            with one_line(f"{folder / TEACHERS_FILE}: not as it was written", "train the teachers again"):
                found = read_json(folder / TEACHERS_FILE)
                models = [folder / one["model"] for one in found["teachers"]]
                expected = [str(one["fingerprint"]) for one in found["teachers"]]
                known = found.get("format") == FORMAT
            if not known and len(models) > 1:
                raise ModelError(
                    f"{folder}: teachers of another version, whose folds were others, so that they would "
                    "score what they were trained on; delete the folder and train them again"
                )
            return Teachers(name, models, expected=expected, max_length=max_length, device=device)
        if (folder / TRAINING_FILE).is_file():
            raise ModelError(
                f"{folder}: its teachers are not finished; run the same teacher command again to resume"
            )
        return Teachers(name, [path_or_name], max_length=max_length, device=device)

    def to(self, device: str) -> "Teachers":
        """Move the models to a device, also those that are loaded later; returns itself."""
        self._device = device
        for model in self.__dict__.get("all", ()):
            model.to(device)
        return self

    def __len__(self) -> int:
        """Number of cross-encoders."""
        return len(self.models)

    @cached_property
    def all(self) -> Sequence[CrossEncoder]:
        """All cross-encoders, in eval mode.

        Raises:
            ModelError: one cannot be loaded, or its files changed since it was trained.
        """
        loaded = []
        for place, path in enumerate(self.models):
            model = load_cross_encoder(path, device=self._device).eval()
            if self._expected and cross_encoder_fingerprint(model) != self._expected[place]:
                raise ModelError(
                    f"{path}: not the model that was trained here (its fingerprint differs); "
                    f"delete {self.name} and train the teachers again"
                )
            if self._max_length is not None:
                model = load_cross_encoder(path, max_length=self._max_length, device=self._device).eval()
            loaded.append(model)
        return loaded

    @cached_property
    def fingerprints(self) -> list[str]:
        """Fingerprint of each; it changes with weights, tokenizer and length."""
        return [cross_encoder_fingerprint(model) for model in self.all]

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with any of the cross-encoders."""
        return fingerprint(self.fingerprints)

    def of(self, positives: Iterable[str]) -> int:
        """Place in :attr:`all` of the cross-encoder that was not trained on a question, by its positives."""
        return fold_of(positives, len(self.models))

    def scores(
        self,
        teachers: Sequence[int],
        pairs: Sequence[Pair],
        *,
        token_budget: int | None = None,
        bf16: bool | None = None,
    ) -> NDArray[np.float32]:
        """Raw logits of training questions, each by the cross-encoder that was not trained on it.

        Args:
            teachers: for each pair which of :attr:`all` scores it, see :meth:`of`.
            pairs: N question and passage texts.
            token_budget, bf16: see :func:`~ernie_search.model.cross_encoder.score_pairs`.

        Returns:
            ``(N,)`` float32.
        """
        found = np.zeros(len(pairs), dtype=np.float32)
        places: dict[int, list[int]] = defaultdict(list)
        for place, number in enumerate(teachers):
            places[number].append(place)
        for number in sorted(places):
            chosen = [pairs[place] for place in places[number]]
            found[places[number]] = score_pairs(
                self.all[number], chosen, token_budget=token_budget, bf16=bf16
            )
        return found

    def mean_scores(
        self,
        pairs: Sequence[Pair],
        *,
        token_budget: int | None = None,
        bf16: bool | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Mean of all cross-encoders' raw logits, for questions that none was trained on (dev, test).

        Args:
            pairs: N question and passage texts.
            token_budget, bf16: see :func:`~ernie_search.model.cross_encoder.score_pairs`.
            progress: called with the number of pairs that one cross-encoder has scored since its last call.

        Returns:
            ``(N,)`` float32.
        """
        total = np.zeros(len(pairs), dtype=np.float64)
        for model in self.all:
            total += score_pairs(model, pairs, token_budget=token_budget, bf16=bf16, progress=progress)
        return (total / len(self.models)).astype(np.float32)


def question_texts(collection: Collection, wanted: Ids[str], split: str) -> dict[str, str]:
    """Texts of the wanted questions.

    Raises:
        DataError: the split lacks one; it is named.
    """
    found = {query.id: query.text for query in collection.queries(split) if query.id in wanted}
    missing = next((name for name in wanted if name not in found), None)
    if missing is not None:
        raise DataError(
            f"{collection.source}: question {missing!r} is not in split {split!r}; "
            "name the collection that the lists or the run were made from"
        )
    return found


def passage_texts(collection: Collection, wanted: dict[str, str]) -> dict[str, str]:
    """Title and text of the wanted passages; nothing else of the collection is kept in memory.

    Args:
        collection: read once.
        wanted: passage id -> what needs it, for the message ("question 'q7': its positive").

    Raises:
        DataError: the corpus lacks one; it is named.
    """
    found = {passage.id: passage.full_text for passage in collection.passages() if passage.id in wanted}
    missing = next((name for name in wanted if name not in found), None)
    if missing is not None:
        raise DataError(
            f"{collection.source}: {wanted[missing]} {missing!r} is not in the corpus; "
            "add it, or make the lists anew"
        )
    return found


QUESTIONS_TOGETHER = 32
"""Questions whose pairs are sorted by length together; more of them would save little padding."""


def rerank_run(
    teachers: Teachers,
    collection: Collection,
    run: Run,
    questions: str | Mapping[str, str],
    k: int = 100,
    *,
    token_budget: int | None = None,
    bf16: bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> Run:
    """Re-rank a run's first ``k`` passages by the mean of the teachers' logits.

    The mean, because none of the teachers was trained on dev and test questions, and each of them taught a
    part of the lists.

    Args:
        teachers: one or several.
        collection: for the texts; its passages are read once.
        run: any ranking; equal scores are ordered by the passage's id, as where runs are measured.
        questions: the split of the run's questions, or their texts by id.
        k: passages per question; those below are left out.
        token_budget, bf16: see :func:`~ernie_search.model.cross_encoder.score_pairs`.
        progress: called with the number of questions done since its last call.

    Returns:
        A run of at most ``k`` passages per question.

    Raises:
        DataError: a question that the split lacks, a passage that the corpus lacks, or a score that is NaN.
        SettingsError: ``k`` is below 1.
    """
    if k < 1:
        raise SettingsError(f"k={k}: must be at least 1 passage")
    top = {
        question: best_first(scores, f"run, question {question!r}")[:k] for question, scores in run.items()
    }
    asked = question_texts(collection, top, questions) if isinstance(questions, str) else questions
    wanted = {p: f"run, question {q!r}: passage" for q, passages in top.items() for p in passages}
    texts = passage_texts(collection, wanted)
    result: Run = {}
    waiting = iter(top.items())
    while group := list(islice(waiting, QUESTIONS_TOGETHER)):
        pairs = [(asked[q], texts[p]) for q, passages in group for p in passages]
        scores = iter(teachers.mean_scores(pairs, token_budget=token_budget, bf16=bf16).tolist())
        for question, passages in group:
            result[question] = {passage: next(scores) for passage in passages}
        if progress is not None:
            progress(len(group))
    return result
