"""Settings of the loss: every weight, temperature and choice that its terms read."""

from typing import Literal

from pydantic import Field

from ernie_search._util.settings import TypedSettings
from ernie_search.errors import SettingsError

CROSS_TERMS = ("cascade", "direct", "margin")
"""Terms that need a cross-encoder's scores of each question's list."""
TOKEN_TERMS = ("late", "cascade", "attention")
"""Terms that always need the student's token matrix."""


class LossSettings(TypedSettings):
    """The weighted terms of the loss (docs/method.md), their temperatures, and who teaches whom.

    Attributes:
        dense_weight, late_weight, interaction_weight: of ``L_DE``, ``L_LI`` and ``L_LI>DE``; a weight of zero
            costs nothing.
        cascade_weight, direct_weight, margin_weight: of ``L_CE>LI``, ``L_CE>DE`` and MarginMSE; they need
            lists that a cross-encoder scored.
        attention_weight: of ``L_att``; it needs the cross-encoder itself.
        dual_weight: of ``L_dual``.
        dense_temperature, late_temperature: contrastive ``tau_DE``, ``tau_LI``.
        teacher_temperature, student_temperature: of the distillation alone.
        follow_lead: the weights of interaction, cascade, direct and MarginMSE follow how far their teacher is
            ahead of its student on the labels of the batches, down to 0 where it is not; false keeps them.
        distillation_candidates: over all passages of the batch, or over the question's own list.
        interaction_teacher: the student's own late interaction, a frozen model's (TCT-ColBERT), or the sum of
            both readings, which teaches both (BGE-M3).
        detach_teacher: stop the distillation's gradient at the late interaction.
        cross_temperature: of the cross-encoder's logits, in ``L_CE>LI`` and ``L_CE>DE``.
        cascade_temperature, direct_temperature: of the student's scores there, late and dense.
        margin_scale: what a dense score is multiplied by to be a logit of the cross-encoder's size.
        attention_layer: of the cross-encoder, whose attention teaches: from 0, or -1 (the last) backwards.
        attention_temperature: ``tau_A``, of the products of token vectors.
        dual_temperature: of the dense scores in ``L_dual``.
        dual_passages: encode the passages twice for it, too, not only the questions.
    """

    dense_weight: float = Field(1.0, ge=0)
    late_weight: float = Field(1.0, ge=0)
    interaction_weight: float = Field(3.0, ge=0)
    cascade_weight: float = Field(0.0, ge=0)
    direct_weight: float = Field(0.0, ge=0)
    margin_weight: float = Field(0.0, ge=0)
    attention_weight: float = Field(0.0, ge=0)
    dual_weight: float = Field(0.0, ge=0)
    follow_lead: bool = True
    dense_temperature: float = Field(0.05, gt=0)
    late_temperature: float = Field(0.03, gt=0)
    teacher_temperature: float = Field(0.04, gt=0)
    student_temperature: float = Field(0.05, gt=0)
    distillation_candidates: Literal["batch", "own"] = "batch"
    detach_teacher: bool = True
    interaction_teacher: Literal["late", "frozen", "ensemble"] = "late"
    cross_temperature: float = Field(2.0, gt=0)
    cascade_temperature: float = Field(0.03, gt=0)
    direct_temperature: float = Field(0.05, gt=0)
    margin_scale: float = Field(20.0, gt=0)
    attention_layer: int = -1
    attention_temperature: float = Field(0.05, gt=0)
    dual_temperature: float = Field(0.05, gt=0)
    dual_passages: bool = False

    def weight(self, term: str) -> float:
        """The weight of a term of the loss, by the term's name."""
        return float(getattr(self, f"{term}_weight"))

    @property
    def active_terms(self) -> list[str]:
        """Names of the terms that have a weight, in the order of the settings."""
        names = [name.removesuffix("_weight") for name in type(self).model_fields if name.endswith("_weight")]
        return [name for name in names if self.weight(name) > 0]

    @property
    def needs_tokens(self) -> bool:
        """Whether any term reads the student's token matrix."""
        own = self.interaction_weight > 0 and self.interaction_teacher != "frozen"
        return own or any(self.weight(name) > 0 for name in TOKEN_TERMS)

    @property
    def cross_terms(self) -> list[str]:
        """Active terms that need a cross-encoder's scores."""
        return [name for name in CROSS_TERMS if self.weight(name) > 0]

    def check_terms(self) -> None:
        """Refuse a loss from which nothing is learned.

        Raises:
            SettingsError: no term of the labels, and none of a cross-encoder.
        """
        if self.dense_weight == 0 and self.late_weight == 0 and not self.cross_terms:
            raise SettingsError(
                "dense_weight and late_weight are both 0, so nothing is learned; set one above 0"
            )
