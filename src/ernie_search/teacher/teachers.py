"""One cross-encoder, or the cross-fitted ones of which each speaks for the questions that it has not seen."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from ernie_search._util.files import fingerprint, read_json
from ernie_search.errors import ModelError
from ernie_search.model.cross_encoder import (
    Pair,
    cross_encoder_fingerprint,
    load_cross_encoder,
    score_pairs,
)
from ernie_search.model.saved_files import one_line


def fold_of(positives: Iterable[str], folds: int) -> int:
    """The fold of a question: ``0 .. folds - 1``, evenly spread over passages, the same whatever else is
    asked.

    Teacher ``k`` is trained on the questions that are not in fold ``k``, and scores those that are.

    Args:
        positives: ids of all its known positives, in any order; the first by name decides.
        folds: how many.
    """
    digest = hashlib.sha256(f"fold:{min(positives)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % folds


def trains_on(teacher: int, positives: Iterable[str], folds: int) -> bool:
    """Whether this teacher sees the question in training; with one fold the only teacher sees all."""
    return folds == 1 or fold_of(positives, folds) != teacher


TEACHERS_FILE = "teachers.json"
"""In the folder of trained teachers, written last: what they are."""
STARTED_FILE = "run.json"
FORMAT = 2
"""Goes up when teachers of an older version can't be used; 1 had folds by the question's id."""


class Teachers:
    """Teachers that can be asked; their models load on first use.

    Attributes:
        name: what messages call them: the folder, or the name on the hub.
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
        """Args: see the attributes; ``expected`` fingerprints at the models' own length; see :meth:`open`."""
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
                    f"{folder}: teachers of another version, which shared the questions out otherwise, so "
                    "that they would score what they have seen; delete the folder and train them again"
                )
            return Teachers(name, models, expected=expected, max_length=max_length, device=device)
        if (folder / STARTED_FILE).is_file():
            raise ModelError(
                f"{folder}: its teachers are not finished; run the same teacher command again to go on"
            )
        return Teachers(name, [path_or_name], max_length=max_length, device=device)

    def to(self, device: str) -> "Teachers":
        """Move them to a device, those that are loaded and those that will be; itself again."""
        self._device = device
        for model in self.__dict__.get("all", ()):
            model.to(device)
        return self

    def __len__(self) -> int:
        """How many."""
        return len(self.models)

    @cached_property
    def all(self) -> Sequence[CrossEncoder]:
        """Every one of them, in eval mode.

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
        """Of each; they change with weights, tokenizer and length."""
        return [cross_encoder_fingerprint(model) for model in self.all]

    @property
    def fingerprint(self) -> str:
        """Changes with any of them."""
        return fingerprint(self.fingerprints)

    def of(self, positives: Iterable[str]) -> int:
        """Which of :attr:`all` speaks for the question with these positives: the one that has not seen it."""
        return fold_of(positives, len(self.models))

    def scores(
        self,
        speakers: Sequence[int],
        pairs: Sequence[Pair],
        *,
        token_budget: int | None = None,
        bf16: bool | None = None,
    ) -> NDArray[np.float32]:
        """Raw logits of training questions, each by the teacher that has not seen it.

        Args:
            speakers: for each pair which of :attr:`all` scores it, see :meth:`of`.
            pairs: N question and passage texts.
            token_budget, bf16: see :func:`~ernie_search.model.cross_encoder.score_pairs`.

        Returns:
            ``(N,)`` float32.
        """
        found = np.zeros(len(pairs), dtype=np.float32)
        places: dict[int, list[int]] = defaultdict(list)
        for place, number in enumerate(speakers):
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
        """Mean of all teachers' raw logits, for questions that none of them was trained on (dev, test).

        Args:
            pairs: N question and passage texts.
            token_budget, bf16: see :func:`~ernie_search.model.cross_encoder.score_pairs`.
            progress: called with the number of pairs that one teacher has done since its last call.

        Returns:
            ``(N,)`` float32.
        """
        total = np.zeros(len(pairs), dtype=np.float64)
        for model in self.all:
            total += score_pairs(model, pairs, token_budget=token_budget, bf16=bf16, progress=progress)
        return (total / len(self.models)).astype(np.float32)
