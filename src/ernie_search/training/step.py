"""One step: both readings of every text, then the losses, each by its name."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from ernie_search.losses import Candidates, contrastive, interaction_distillation, maxsim
from ernie_search.model import EncoderOutput, JointEncoder
from ernie_search.training.settings import TrainSettings


class JointLoss(nn.Module):
    """``L = w_DE L_DE + w_LI L_LI + w_i L_LI>DE`` (METHOD, "The losses").

    The top-level loss of the trainer: it holds the model under the name that the trainer replaces by the
    wrapped one, and returns its parts weighted, as the trainer adds them up. The raw parts and the teacher's
    entropy gather in ``raw`` until :meth:`take_raw`.
    """

    def __init__(self, model: JointEncoder, settings: TrainSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.normalise = model.score_settings.similarity == "cosine"
        self.raw: dict[str, list[Tensor]] = defaultdict(list)

    def encode(self, parts: list[dict[str, Tensor]], order: Tensor) -> EncoderOutput:
        """Micro-batches through the model; rows back in the order of the step."""
        outputs = [
            EncoderOutput.from_features(self.model(dict(part)), normalise=self.normalise) for part in parts
        ]
        return EncoderOutput.stack(outputs, order)

    def forward(self, features: dict[str, Any], labels: None = None) -> dict[str, Tensor]:
        """Weighted loss parts of one collated step; a part whose weight is zero is not computed."""
        settings = self.settings
        questions = self.encode(features["questions"], features["question_order"])
        passages = self.encode(features["passages"], features["passage_order"])
        columns = features["columns"]
        who = Candidates(features["positive"], features["allowed"], features["own"])
        parts: dict[str, Tensor] = {}
        dense = (questions.cls @ passages.cls.t())[:, columns]
        if settings.dense_weight:
            parts["dense"] = contrastive(dense, who, settings.dense_temperature)
        if settings.needs_tokens:
            late = maxsim(*questions.late(), *passages.late())[:, columns]
            if settings.late_weight:
                parts["late"] = contrastive(late, who, settings.late_temperature)
            if settings.interaction_weight:
                distilled = interaction_distillation(
                    late,
                    dense,
                    who.own if settings.distillation_candidates == "own" else who.allowed,
                    teacher_temperature=settings.teacher_temperature,
                    student_temperature=settings.student_temperature,
                    detach_teacher=settings.detach_teacher,
                )
                parts["interaction"] = distilled.loss
                self.raw["teacher_entropy"].append(distilled.teacher_entropy)
        weights = {
            "dense": settings.dense_weight,
            "late": settings.late_weight,
            "interaction": settings.interaction_weight,
        }
        for name, value in parts.items():
            self.raw[f"raw_{name}"].append(value.detach())
        return {f"loss_{name}": value * weights[name] for name, value in parts.items()}

    def take_raw(self) -> dict[str, float]:
        """Means of the raw parts and of the teacher's entropy since the last call."""
        means = {
            name: round(torch.stack(values).mean().item(), 5) for name, values in self.raw.items() if values
        }
        self.raw.clear()
        return means
