"""One step: both readings of every text, then the terms of the loss, each by its name."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ernie_search.losses import Candidates, maxsim
from ernie_search.model import EncoderOutput, JointEncoder
from ernie_search.model.attention import AttentionTargets
from ernie_search.training.encodings import Cuts, Encodings, Way
from ernie_search.training.gather import gather_rows, share_blocks
from ernie_search.training.settings import TrainSettings
from ernie_search.training.teachers import StepTeachers
from ernie_search.training.terms import TERMS, StepReadings
from ernie_search.training.world import World

WINNERS_KEPT = 1 << 23
"""Places of maxima (4 bytes each) that gradient caching keeps; above, MaxSim's backward finds them again."""


class JointLoss(nn.Module):
    """The weighted sum of :data:`~ernie_search.training.terms.TERMS`.

    The top-level loss of the trainer: it holds the model under the name that the trainer replaces by the
    wrapped one, and returns its parts weighted, as the trainer adds them up. The raw parts and the teachers'
    entropies gather in ``raw`` until :meth:`take_raw`. Teachers are no submodules: they are not trained,
    saved or moved with the student.

    With gradient caching, or on several ranks, only the sum of the parts has a gradient.
    """

    def __init__(
        self,
        model: JointEncoder,
        settings: TrainSettings,
        teachers: StepTeachers | None = None,
        world: World | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._student = (model,)  # as it is, where the trainer wraps the other; a tuple is no submodule
        self.settings = settings
        self.teachers = teachers or StepTeachers()
        self.world = world or World()
        self.normalise = model.score_settings.similarity == "cosine"
        self.raw: dict[str, list[Tensor]] = defaultdict(list)

    @property
    def student(self) -> JointEncoder:
        """The model itself, not the trainer's wrapper."""
        return self._student[0]

    @property
    def way(self) -> Way:
        """How gradients come back into the encoder."""
        if self.settings.gradient_cache:
            return "again"
        return "cut" if self.world.size > 1 else "whole"

    def forward(self, features: dict[str, Any], labels: None = None) -> dict[str, Tensor]:
        """Weighted loss parts of one collated step; a part whose weight is zero is not computed."""
        settings, way = self.settings, self.way
        encodings = Encodings(self.model, self.normalise, way, self.student.device)
        cuts = Cuts()
        step = self._readings(features, encodings, (lambda scores: scores) if way == "whole" else cuts)
        parts = {}
        for name in settings.active_terms:
            value = TERMS[name](step)
            if way != "whole":
                if value.requires_grad:
                    (value * settings.weight(name)).backward()  # type: ignore[no-untyped-call]
                value = value.detach()
            parts[name] = value
        for name, value in parts.items():
            self.raw[f"raw_{name}"].append(value.detach())
        for name, value in step.entropies.items():
            self.raw[name].append(value)
        weighted = {f"loss_{name}": value * settings.weight(name) for name, value in parts.items()}
        if way == "whole":
            return weighted
        cuts.push()
        return dict(zip(weighted, encodings.carry_back(list(weighted.values())), strict=True))

    def _readings(self, features: dict[str, Any], encodings: Encodings, cut: Any) -> StepReadings:
        settings, world = self.settings, self.world
        who = Candidates(features["positive"], features["allowed"], features["own"])
        count = len(who.positive)
        questions = self._questions(encodings.encode(features["questions"]), features)
        passages, columns = self._passages(encodings.encode(features["passages"]), features)
        recompute = settings.gradient_cache and (
            questions.tokens is not None
            and questions.tokens.shape[0] * questions.tokens.shape[1] * len(columns) > WINNERS_KEPT
        )

        def whole(rows: Tensor) -> Tensor:
            return cut(gather_rows(rows, world, count))  # type: ignore[no-any-return]

        def second_pass() -> Tensor:
            again = self._questions(encodings.encode(features["questions"]), features)
            other, places = passages, columns
            if settings.dual_passages:
                other, places = self._passages(encodings.encode(features["passages"]), features)
            return whole(torch.cat([again.cls @ block.cls.t() for block in other], dim=1)[:, places])

        def frozen_late() -> Tensor:
            with torch.no_grad():
                reading = Encodings(self.teachers.frozen_late(), self.normalise, "whole", self.student.device)
                asked = self._questions(reading.encode(features["questions"]), features)
                answers, places = self._frozen_passages(reading, features)
                scores = torch.cat([maxsim(*asked.late(), *block.late()) for block in answers], dim=1)
                return whole(scores[:, places])

        def attention(rows: Sequence[int], query_length: int, passage_length: int) -> AttentionTargets:
            pairs = [features["pairs"][row] for row in rows]
            return self.teachers.attention(self.student, pairs, query_length, passage_length)

        return StepReadings(
            settings,
            questions,
            passages,
            columns,
            who,
            features.get("cross_scores"),
            second_pass,
            frozen_late,
            attention,
            {},
            whole=whole,
            mine=world.share(count),
            recompute=recompute,
            frugal=settings.gradient_cache,
        )

    def _questions(self, parts: list[EncoderOutput], features: dict[str, Any]) -> EncoderOutput:
        return EncoderOutput.stack(parts, features["question_order"])

    def _passages(
        self, parts: list[EncoderOutput], features: dict[str, Any]
    ) -> tuple[list[EncoderOutput], Tensor]:
        """Blocks of passages, of all ranks, and ``(P,)``: which of their rows is each candidate place.

        Without caching a rank's passages are one block, padded; with it the micro-batches stay what they are,
        as a common block would be a second copy.
        """
        order: Tensor = features["passage_order"]
        if not self.settings.gradient_cache and parts:
            parts, order = [EncoderOutput.stack(parts, order)], torch.arange(len(order), device=order.device)
        anchor = torch.zeros(1, device=self.student.device, requires_grad=torch.is_grad_enabled())
        blocks, place = share_blocks(parts, order, anchor, self.world)
        return blocks, place[features["columns"]]

    def _frozen_passages(
        self, reading: Encodings, features: dict[str, Any]
    ) -> tuple[Iterator[EncoderOutput] | list[EncoderOutput], Tensor]:
        """The same of the frozen teacher; in one process, one block after the other: none is needed twice."""
        if not self.settings.gradient_cache or self.world.size > 1:
            return self._passages(reading.encode(features["passages"]), features)
        order: Tensor = features["passage_order"]
        _, place = share_blocks([], order, order, self.world)
        return (reading.encode([part])[0] for part in features["passages"]), place[features["columns"]]

    def take_raw(self) -> dict[str, float]:
        """Means of the raw parts and of the teachers' entropies since the last call."""
        means = {
            name: round(torch.stack(values).mean().item(), 5) for name, values in self.raw.items() if values
        }
        self.raw.clear()
        return means
