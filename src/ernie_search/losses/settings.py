"""Settings of the loss: every weight, temperature and choice that its terms read."""

from typing import Literal

from pydantic import Field

from ernie_search._util.settings import TypedSettings
from ernie_search.errors import SettingsError

CROSS_TERMS = ("cascade", "direct", "margin")
"""Terms that need a cross-encoder's scores of each question's list."""
TOKEN_TERMS = ("late", "cascade", "attention")
"""Terms that always need the student's token matrix."""
DENSE_TERMS = ("dense", "interaction", "direct", "margin")
"""Terms that teach the single vector a ranking."""
RANKING_TERMS = ("dense", "late", "interaction", *CROSS_TERMS)
"""Terms that teach a ranking, each of them enough for a training; the others only shape what is learned."""


DENSE_TEMPERATURES = {
    "dense": "dense_temperature",
    "interaction": "student_temperature",
    "direct": "direct_temperature",
    "dual": "dual_temperature",
}
"""By term, the temperature of the single vector's scores."""
SHARP_FOR_DOT = 0.2
"""Below which a temperature can only be meant for cosines."""


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
        late_gradient: how much of the gradient at the token vectors reaches the encoder, where late
            interaction teaches: all of it, or the share of its lead over the single vector. While it is
            behind, its losses then train the token head alone, and the encoder as if they were not there.
        distillation_candidates: over all passages of the batch, over the question's own group, or over its
            list: the own group and further passages of its list, see ``list_passages``.
        copied_questions: whether late interaction teaches on questions that are copied from their positives,
            which teach to match words; left out, they don't count for its lead, either.
        interaction_teacher: the student's own late interaction, a frozen model's (TCT-ColBERT), or the sum of
            both readings, which teaches both (BGE-M3).
        detach_teacher: stop the distillation's gradient at the late interaction.
        still_teacher: read the late interaction that teaches once more, without dropout. It costs a forward
            pass of all texts.
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
    late_gradient: Literal["whole", "lead"] = "lead"
    dense_temperature: float = Field(0.05, gt=0)
    late_temperature: float = Field(0.03, gt=0)
    teacher_temperature: float = Field(0.04, gt=0)
    student_temperature: float = Field(0.05, gt=0)
    distillation_candidates: Literal["batch", "own", "list"] = "batch"
    copied_questions: Literal["left_out", "taught"] = "left_out"
    detach_teacher: bool = True
    still_teacher: bool = False
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

    @property
    def reads_lists(self) -> bool:
        """Whether any term reads passages of the questions' lists beyond their groups."""
        return bool(self.cross_terms) or self._distils_over_lists

    @property
    def reads_listed_tokens(self) -> bool:
        """Whether any term reads the token vectors of those passages."""
        return self.cascade_weight > 0 or self._distils_over_lists

    @property
    def _distils_over_lists(self) -> bool:
        return self.interaction_weight > 0 and self.distillation_candidates == "list"

    def dot_product_advice(self) -> str | None:
        """One line of advice where a base is compared by inner product, and a temperature is for cosines."""
        sharp = [
            f"{name}={getattr(self, name):g}"
            for term, name in DENSE_TEMPERATURES.items()
            if self.weight(term) > 0 and getattr(self, name) < SHARP_FOR_DOT
        ]
        if not sharp:
            return None
        names = " ".join(f"{one.partition('=')[0]}=1" for one in sharp)
        return (
            "the base compares vectors by their inner product, which is far above 1, so that "
            f"{', '.join(sharp)} makes every distribution one-hot; set {names}"
        )

    @property
    def contrastive(self) -> bool:
        """Whether any term takes negatives for irrelevant."""
        return self.dense_weight > 0 or self.late_weight > 0

    @property
    def trains_dense(self) -> bool:
        """Whether any term teaches the single vector to rank."""
        return any(self.weight(name) > 0 for name in DENSE_TERMS)

    def check_terms(self) -> None:
        """Refuse a loss from which no ranking is learned, and choices that exclude each other.

        Raises:
            SettingsError: no term of the labels, and none of a teacher; or a way of teaching that this
                teacher doesn't have.
        """
        if not any(self.weight(name) > 0 for name in RANKING_TERMS):
            *others, last = [f"{name}_weight" for name in RANKING_TERMS]
            raise SettingsError(
                f"{', '.join(others)} and {last} are all 0, so no ranking is learned; set one above 0"
            )
        if self.interaction_weight == 0:
            return
        if self.distillation_candidates == "list" and self.interaction_teacher == "frozen":
            raise SettingsError(
                "distillation_candidates=list with interaction_teacher=frozen: only the student's own "
                "vectors are cached; set distillation_candidates to batch or own, or "
                "interaction_teacher to late"
            )
        if self.still_teacher and self.interaction_teacher != "late":
            raise SettingsError(
                f"still_teacher with interaction_teacher={self.interaction_teacher}: a frozen teacher is "
                "always read without dropout, and an ensemble teaches what it is read from; set "
                "still_teacher to false, or interaction_teacher to late"
            )
        if self.still_teacher and not self.detach_teacher:
            raise SettingsError(
                "still_teacher with detach_teacher=false: a teacher that is read without dropout gets no "
                "gradient; set one of them the other way"
            )
