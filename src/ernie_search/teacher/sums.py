"""A teacher as a weighted sum of components: cross-encoders, late interaction, BM25, scores of others."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import read_json, write_json
from ernie_search._util.settings import read_record
from ernie_search.data import Collection
from ernie_search.errors import DataError, SettingsError
from ernie_search.mining.lists import Lists, TrainingList
from ernie_search.model.beginning import QuestionWeights
from ernie_search.teacher.components import BM25Scores, LateScores
from ernie_search.teacher.teachers import Teachers

CROSS, LATE, WORDS = "cross", "late", "bm25"
"""Names of the components that are computed; any other name is of scores that the lists have."""
FORMAT = 1


def parse_weights(text: str) -> dict[str, float]:
    """Weights such as ``cross=1,late=0.5,bm25=0.02``.

    Raises:
        SettingsError: it is not of this form, a name comes twice, or see :func:`check_weights`.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not name or not equals or math.isnan(weight):
            raise SettingsError(
                f"teacher {text!r}: {part.strip()!r} is not NAME=WEIGHT; "
                "write, say, cross=1,late=0.5,bm25=0.02"
            )
        if name in found:
            raise SettingsError(f"teacher {text!r}: {name!r} comes twice; give one weight")
        found[name] = weight
    return check_weights(found)


def check_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights, if a sum can be made with them.

    Raises:
        SettingsError: there is none, one is below 0 or infinite, or all are 0.
    """
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise SettingsError(f"teacher: {name}={weight:g}: a weight is a number of at least 0")
    if not any(weights.values()):
        raise SettingsError("teacher: a weight above 0 is needed; 0 only shows a component beside the others")
    return dict(weights)


def is_weights(text: str) -> bool:
    """Whether a teacher is given as weights, and not as a directory or a name."""
    return "=" in text and not Path(text).exists()


def weighted_sum(parts: Mapping[str, Sequence[float]], weights: Mapping[str, float]) -> tuple[float, ...]:
    """The sum of a list's parts, each times its weight, on the components' own scales.

    Nothing is normalised. NaN where a component with a weight above 0 has no score. A weight of 0
    adds nothing, not even NaN.
    """
    total: NDArray[np.float64] | None = None
    for name, weight in weights.items():
        if weight:
            part = weight * np.asarray(parts[name], dtype=np.float64)
            total = part if total is None else total + part
    return () if total is None else tuple(total.astype(np.float32).tolist())


@dataclass(slots=True)
class TeacherSum:
    """A weighted sum of components.

    Attributes:
        weights: by component. One of weight 0 is scored, kept and judged, and not added.
        cross: of the component ``cross``; each training question is scored by the cross-encoder that was not
            trained on it, as without a sum.
        late, bm25: of the components ``late`` and ``bm25``.
    """

    weights: dict[str, float]
    cross: Teachers | None = None
    late: LateScores | None = None
    bm25: BM25Scores | None = None

    @property
    def computed(self) -> list[str]:
        """Names of the components that are computed here; scores of the others have to be in the lists."""
        models = {CROSS: self.cross, LATE: self.late, WORDS: self.bm25}
        return [name for name, model in models.items() if model is not None and name in self.weights]

    @property
    def name(self) -> str:
        """What messages and manifests call it; a lone component by its own name."""
        if list(self.weights) == [CROSS] and self.cross is not None:
            return self.cross.name
        return ", ".join(f"{name}={weight:g}" for name, weight in self.weights.items())

    @property
    def key(self) -> dict[str, Any]:
        """What the computed components' scores depend on, beside the collection."""
        found: dict[str, Any] = {}
        if self.cross is not None and CROSS in self.weights:
            found["teachers"] = self.cross.fingerprints
            found["max_length"] = [model.max_seq_length for model in self.cross.all]
        if self.late is not None and LATE in self.weights:
            found |= self.late.key
        if self.bm25 is not None and WORDS in self.weights:
            found |= self.bm25.key
        return found or {"computed": "nothing"}  # so that no folder with scores is taken for it

    def check(self, lists: Lists) -> None:
        """Refuse lists that lack scores of a component that is not computed.

        Raises:
            SettingsError: they do; the message says how to get it.
        """
        missing = [name for name in self.weights if name not in self.computed]
        first: TrainingList | None = next(iter(lists), None)
        there = parts_of(first) if first is not None else {}
        for name in missing:
            if name not in there:
                how = {
                    CROSS: "name a cross-encoder with --cross",
                    LATE: "name a model with --late",
                }.get(name, f"import scores under that name: ernie-search score-import --name {name}")
                known = ", ".join(sorted({*there, *self.computed})) or "none"
                raise SettingsError(
                    f"{lists.folder}: no scores of component {name!r} (known: {known}); {how}"
                )


def parts_of(one: TrainingList) -> Mapping[str, tuple[float, ...]]:
    """A list's parts; scores without parts are of a cross-encoder, as all were before there were parts."""
    if one.parts or not one.scored:
        return one.parts
    return {CROSS: (*one.positive_scores, *one.negative_scores)}


@dataclass(frozen=True, slots=True)
class SavedWeights:
    """A file of weights that ``score-tune`` wrote and ``score --teacher FILE`` reads.

    Attributes:
        weights: by component.
        cross, late: the models of these components.
        late_question_weights: see :class:`~ernie_search.teacher.components.LateScores`.
        about: what they were chosen by, and what they brought there.
    """

    weights: dict[str, float]
    cross: str | None = None
    late: str | None = None
    late_question_weights: str = "even"
    about: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def write(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            StorageError: the disk is full or not writable.
        """
        write_json(path, asdict(self))

    @staticmethod
    def read(path: Path) -> "SavedWeights":
        """Read it.

        Raises:
            StorageError: no such file, or no JSON.
            DataError: something else.
            SettingsError: weights that make no sum.
        """
        found = read_json(path)
        if isinstance(found, dict) and isinstance(found.get("weights"), dict):
            numbers = (int, float)
            found["weights"] = {
                name: float(weight) if type(weight) in numbers else weight
                for name, weight in found["weights"].items()
            }
        try:
            saved = read_record(SavedWeights, found)
        except ValueError as error:
            raise DataError(
                f"{path}: not readable as a teacher's weights ({error}); run: ernie-search score-tune"
            ) from error
        check_weights(saved.weights)
        return saved


def open_sum(
    weights: Mapping[str, float],
    collection: Collection,
    *,
    cross: str | Path | None = None,
    late: str | Path | None = None,
    late_question_weights: QuestionWeights = "even",
    max_length: int | None = None,
    device: str | None = None,
    there: Iterable[str] = (),
) -> TeacherSum:
    """A sum from names of models.

    Args:
        weights: by component.
        collection: of the lists.
        cross: a folder of teachers, a cross-encoder's directory, or a name on the hub.
        late: a model's directory or name.
        late_question_weights: see :class:`~ernie_search.teacher.components.LateScores`.
        max_length: tokens that the cross-encoders read of a pair; by default each one's own.
        device: of the models.
        there: components of which the lists have scores; BM25 is not counted anew then.

    Raises:
        SettingsError: a model of a component that has no weight.
        ModelError: teachers that are not finished.
    """
    for name, model in ((CROSS, cross), (LATE, late)):
        if model is not None and name not in weights:
            raise SettingsError(
                f"{model}: {name!r} has no weight in the teacher; add {name}=1, or leave it out"
            )
    return TeacherSum(
        check_weights(weights),
        None if cross is None else Teachers.open(cross, max_length=max_length, device=device),
        None
        if late is None
        else LateScores(late, collection, question_weights=late_question_weights, device=device),
        BM25Scores(collection) if WORDS in weights and WORDS not in set(there) else None,
    )
