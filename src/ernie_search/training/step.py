"""One step: both readings of every text, then the terms of the loss, each by its name."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from ernie_search.losses import Candidates, maxsim
from ernie_search.model import EncoderOutput, JointEncoder
from ernie_search.model.attention import AttentionTargets
from ernie_search.training.settings import TrainSettings
from ernie_search.training.teachers import Teachers
from ernie_search.training.terms import TERMS, StepReadings


class JointLoss(nn.Module):
    """The weighted sum of :data:`~ernie_search.training.terms.TERMS`.

    The top-level loss of the trainer: it holds the model under the name that the trainer replaces by the
    wrapped one, and returns its parts weighted, as the trainer adds them up. The raw parts and the teachers'
    entropies gather in ``raw`` until :meth:`take_raw`. Teachers are no submodules: they are not trained,
    saved or moved with the student.
    """

    def __init__(
        self, model: JointEncoder, settings: TrainSettings, teachers: Teachers | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self._student = (model,)  # as it is, where the trainer wraps the other; a tuple is no submodule
        self.settings = settings
        self.teachers = teachers or Teachers()
        self.normalise = model.score_settings.similarity == "cosine"
        self.raw: dict[str, list[Tensor]] = defaultdict(list)

    @property
    def student(self) -> JointEncoder:
        """The model itself, not the trainer's wrapper."""
        return self._student[0]

    def encode(self, model: Any, parts: list[dict[str, Tensor]], order: Tensor) -> EncoderOutput:
        """Micro-batches through a model; rows back in the order of the step."""
        outputs = [EncoderOutput.from_features(model(dict(part)), normalise=self.normalise) for part in parts]
        return EncoderOutput.stack(outputs, order)

    def _both(self, model: Any, features: dict[str, Any]) -> tuple[EncoderOutput, EncoderOutput]:
        questions = self.encode(model, features["questions"], features["question_order"])
        return questions, self.encode(model, features["passages"], features["passage_order"])

    def forward(self, features: dict[str, Any], labels: None = None) -> dict[str, Tensor]:
        """Weighted loss parts of one collated step; a part whose weight is zero is not computed."""
        settings = self.settings
        questions, passages = self._both(self.model, features)
        columns = features["columns"]

        def second_pass() -> Tensor:
            again = self.encode(self.model, features["questions"], features["question_order"])
            other = passages
            if settings.dual_passages:
                other = self.encode(self.model, features["passages"], features["passage_order"])
            return (again.cls @ other.cls.t())[:, columns]

        def frozen_late() -> Tensor:
            with torch.no_grad():
                asked, answers = self._both(self.teachers.frozen_late(), features)
                return maxsim(*asked.late(), *answers.late())[:, columns]

        def attention(query_length: int, passage_length: int) -> AttentionTargets:
            return self.teachers.attention(self.student, features["pairs"], query_length, passage_length)

        step = StepReadings(
            settings,
            questions,
            passages,
            columns,
            Candidates(features["positive"], features["allowed"], features["own"]),
            features.get("cross_scores"),
            second_pass,
            frozen_late,
            attention,
            {},
        )
        parts = {name: TERMS[name](step) for name in settings.active_terms}
        for name, value in parts.items():
            self.raw[f"raw_{name}"].append(value.detach())
        for name, value in step.entropies.items():
            self.raw[name].append(value)
        return {f"loss_{name}": value * settings.weight(name) for name, value in parts.items()}

    def take_raw(self) -> dict[str, float]:
        """Means of the raw parts and of the teachers' entropies since the last call."""
        means = {
            name: round(torch.stack(values).mean().item(), 5) for name, values in self.raw.items() if values
        }
        self.raw.clear()
        return means
