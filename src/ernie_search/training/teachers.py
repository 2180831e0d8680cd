"""Teachers that a step asks: a cross-encoder for its attention, a frozen model for its late interaction.

A cross-encoder's scores are not among them: they come with the lists.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from sentence_transformers import CrossEncoder

from ernie_search._util.hardware import asks_bf16
from ernie_search.errors import ModelError, SettingsError
from ernie_search.model import JointEncoder, load_joint
from ernie_search.model.attention import (
    AttentionTargets,
    attention_targets,
    check_attention_teacher,
    evenness,
    layers_of,
)
from ernie_search.training.settings import TrainSettings

EVEN = 0.95
"""Share of the largest entropy above which attention is too even to teach where to match."""
Pair = tuple[frozenset[str], str, str]
"""Ids of the question's known positives, its text, the passage's text."""


class CrossTeachers(Protocol):
    """One or more cross-encoders, of which each teaches the questions that it was not trained on."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the weights of any cross-encoder."""

    @property
    def all(self) -> Sequence[CrossEncoder]:
        """All cross-encoders."""

    def of(self, positives: frozenset[str]) -> int:
        """Place in :attr:`all` of the cross-encoder that teaches the question with these positives."""


@dataclass(slots=True)
class StepTeachers:
    """The teachers that the steps of a training ask; they are not trained.

    Attributes:
        cross: the cross-encoders, where their attention teaches.
        frozen: directory of a joint model, where its late interaction teaches.
    """

    cross: CrossTeachers | None = None
    frozen: Path | None = None
    _frozen_model: JointEncoder | None = None
    _bf16: bool | None = None
    _layer: int = -1

    def check(self, settings: TrainSettings) -> None:
        """Refuse settings whose teacher is missing.

        Raises:
            SettingsError: a teacher is missing; the message names the setting.
        """
        if settings.attention_weight > 0 and self.cross is None:
            raise SettingsError(
                "attention_weight is above 0 and there is no cross-encoder; give one, or set it to 0"
            )
        if (
            settings.interaction_weight > 0
            and settings.interaction_teacher == "frozen"
            and self.frozen is None
        ):
            raise SettingsError(
                "interaction_teacher=frozen needs the directory of a trained joint model; give one, "
                "or set interaction_teacher=late"
            )

    def fit(self, student: JointEncoder, settings: TrainSettings) -> None:
        """Load the teachers that the settings need, and refuse those with another tokenizer.

        Raises:
            ModelError: another tokenizer.
        """
        self._bf16 = asks_bf16(settings.precision)  # decided once per training, so that a resume keeps it
        self._layer = settings.attention_layer
        if settings.attention_weight > 0 and self.cross is not None:
            for teacher in self.cross.all:
                check_attention_teacher(teacher, student, settings.attention_layer)
                teacher.to(student.device).eval()
        if settings.interaction_weight > 0 and settings.interaction_teacher == "frozen" and self.frozen:
            self._frozen_model = load_joint(self.frozen, device=str(student.device)).eval()
            self._frozen_model.requires_grad_(False)
            self._frozen_model.question_weights = student.question_weights
            if self._frozen_model.tokenizer.get_vocab() != student.tokenizer.get_vocab():
                raise ModelError(
                    f"{self.frozen}: has another tokenizer than the model in training, whose token ids it "
                    "would misread; choose a teacher made from the same base"
                )

    def frozen_late(self) -> JointEncoder:
        """The frozen joint model, loaded by :meth:`fit`."""
        if self._frozen_model is None:
            raise ModelError("the frozen teacher is not loaded; call fit first")
        return self._frozen_model

    def attention(
        self,
        student: JointEncoder,
        pairs: Sequence[Pair],
        query_length: int,
        passage_length: int,
        *,
        layer: int | None = None,
    ) -> AttentionTargets:
        """Attention of each question's cross-encoder, on the student's tokens.

        Args:
            student: for its tokenizer, prompts and lengths.
            pairs: B questions with their passages.
            query_length, passage_length: padded lengths ``Lq``, ``Lp`` of the student's rows.
            layer: of the cross-encoder; by default that of the settings.

        Returns:
            ``B`` rows, in the order of the pairs.
        """
        if self.cross is None:
            raise ModelError("there is no cross-encoder to take attention from")
        rows: dict[int, list[int]] = defaultdict(list)
        for row, (positives, _, _) in enumerate(pairs):
            rows[self.cross.of(positives)].append(row)
        parts = []
        for number, members in rows.items():
            texts = [pairs[row][1:] for row in members]
            teacher = self.cross.all[number]
            lengths, chosen = (query_length, passage_length), self._layer if layer is None else layer
            parts.append(attention_targets(teacher, student, texts, *lengths, layer=chosen, bf16=self._bf16))
        order = torch.tensor([row for members in rows.values() for row in members])
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(len(order))

        def joined(name: str) -> Any:
            whole = torch.cat([getattr(part, name) for part in parts])
            return whole[inverse.to(whole.device)]

        return AttentionTargets(
            joined("map"), joined("row_weight"), joined("query_kept"), joined("passage_kept")
        )

    def attention_advice(self, student: JointEncoder, pairs: Sequence[Pair]) -> str | None:
        """One line of advice where the chosen layer attends almost evenly; it names the least even layers.

        Args:
            student: see :meth:`attention`; after :meth:`fit`.
            pairs: some questions with their positives.
        """
        if self.cross is None:
            return None
        layers = layers_of(self.cross.all[0])
        lengths = (student.length_of("query"), student.length_of("passage"))
        spread = [evenness(self.attention(student, pairs, *lengths, layer=layer)) for layer in range(layers)]
        chosen = self._layer % layers
        if spread[chosen] < EVEN:
            return None
        best = sorted(range(layers), key=lambda layer: spread[layer])[:3]
        others = ", ".join(f"{layer} ({spread[layer]:.2f})" for layer in best)
        return (
            f"token-level attention: layer {chosen} of the cross-encoder attends almost evenly to all tokens "
            f"of the passage ({spread[chosen]:.2f} of the largest entropy), so it does not teach where to "
            f"match; the least even layers are {others}: set attention_layer"
        )

    def identity(self, settings: TrainSettings) -> dict[str, str]:
        """Fingerprints of the teachers that the settings use: with other ones the weights would be others."""
        used: dict[str, str] = {}
        if settings.attention_weight > 0 and self.cross is not None:
            used["cross"] = self.cross.fingerprint
        if settings.interaction_teacher == "frozen" and settings.interaction_weight > 0 and self.frozen:
            used["frozen"] = load_joint(self.frozen, device="cpu").fingerprint
        return used
