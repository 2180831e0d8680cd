"""Settings of trainings, typed, with unknown names refused."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from ernie_search._util.settings import TypedSettings, parse_typed
from ernie_search.errors import SettingsError
from ernie_search.training.tracker_names import TrackerNames

CROSS_TERMS = ("cascade", "direct", "margin")
"""Terms that need a cross-encoder's scores of each question's list."""
UNRELATED = {"onnx", "report_to"}
"""Settings that change no weight: a training resumes under another value of them."""
TOKEN_TERMS = ("late", "cascade", "attention")
"""Terms that always need the student's token matrix."""


class TrainerSettings(TypedSettings):
    """Settings that every training has, whether of the joint encoder or of a cross-encoder.

    Attributes:
        seed: of the sampling, the fresh weights and dropout.
        steps: optimizer steps.
        questions_per_batch: questions in a step; of all processes together, where several share a step.
        learning_rate: peak rate.
        warmup: share of the steps in which the rate rises; then it falls linearly to zero.
        token_budget: padded tokens in a micro-batch; 0 takes what suits the device.
        attention_dropout: 0 keeps scaled-dot-product attention on its fast path (CPU); hidden dropout stays.
        evaluations: how often the model is measured during training, the end included; 0 for never.
        checkpoints: how many resumable checkpoints are written during training, the end included.
        keep_checkpoints: how many of them are kept; from 2 on, a damaged one costs only the steps since the
            one before it.
        report_to: trackers that get losses, entropies and dev figures too: wandb, mlflow, or another that
            transformers knows; as a list, or as names between commas. It changes no weight.
    """

    seed: int = Field(0, ge=0)
    steps: int = Field(200, ge=1)
    questions_per_batch: int = Field(32, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    token_budget: int = Field(0, ge=0)
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    evaluations: int = Field(4, ge=0)
    checkpoints: int = Field(2, ge=1)
    keep_checkpoints: int = Field(1, ge=1)
    report_to: TrackerNames = ()


class TrainSettings(TrainerSettings):
    """Training of the joint encoder: a warm-up (losses 1 and 2 of docs/method.md), or the cascade.

    The attributes of :class:`TrainerSettings`, and:

    Attributes:
        negatives: a step sees ``questions_per_batch * (1 + negatives)`` passages.
        max_questions: train on a seeded sample of so many questions; 0 takes all.
        negative_first, negative_last: the window of BM25 ranks that negatives are drawn from.
        head_learning_rate: peak rate of the fresh token head; ``learning_rate`` is the encoder's.
        dense_weight, late_weight, interaction_weight: of ``L_DE``, ``L_LI`` and ``L_LI>DE``; a weight of zero
            costs nothing.
        cascade_weight, direct_weight, margin_weight: of ``L_CE>LI``, ``L_CE>DE`` and MarginMSE; they need
            lists that a cross-encoder scored.
        attention_weight: of ``L_att``; it needs the cross-encoder itself.
        dual_weight: of ``L_dual``.
        dense_temperature, late_temperature: contrastive ``tau_DE``, ``tau_LI``.
        teacher_temperature, student_temperature: of the distillation alone.
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
        query_length, passage_length: tokens kept of a text.
        gradient_cache: encode every micro-batch twice and keep no graph between: memory then hardly grows
            with questions_per_batch, and a step takes longer by one more forward; the gradients are the same.
        precision: ``auto`` measures whether bf16 is faster on this machine; ``tf32`` is fp32 with products
            rounded to 10 bits (GPUs from Ampere on).
        compile: compile the encoder (``torch.compile``): the first steps take minutes, the others less. Not
            together with gradient_cache, whose second pass must have the dropout of the first.
        dev_questions, dev_passages: size of the dev sample that is measured during training.
        onnx: write an ONNX graph beside the weights of ``best`` and ``last``, through which questions are
            encoded faster, and without torch. It takes some seconds.
    """

    negatives: int = Field(1, ge=0)
    max_questions: int = Field(0, ge=0)
    negative_first: int = Field(0, ge=0)
    negative_last: int = Field(30, ge=1)
    head_learning_rate: float = Field(1e-3, gt=0)
    dense_weight: float = Field(1.0, ge=0)
    late_weight: float = Field(1.0, ge=0)
    interaction_weight: float = Field(3.0, ge=0)
    cascade_weight: float = Field(0.0, ge=0)
    direct_weight: float = Field(0.0, ge=0)
    margin_weight: float = Field(0.0, ge=0)
    attention_weight: float = Field(0.0, ge=0)
    dual_weight: float = Field(0.0, ge=0)
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
    query_length: int = Field(64, ge=4)
    passage_length: int = Field(256, ge=8)
    gradient_cache: bool = False
    precision: Literal["auto", "bf16", "fp32", "tf32"] = "auto"
    compile: bool = False
    dev_questions: int = Field(200, ge=1)
    dev_passages: int = Field(800, ge=2)
    onnx: bool = True

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

    def check(self) -> "TrainSettings":
        """Refuse settings that cannot be trained, before anything is loaded.

        Raises:
            SettingsError: no loss at all, no negatives at all, an empty window of ranks, or two settings that
                exclude each other.
        """
        if self.dense_weight == 0 and self.late_weight == 0 and not self.cross_terms:
            raise SettingsError(
                "dense_weight and late_weight are both 0, so nothing is learned; set one above 0"
            )
        if self.cross_terms and self.negatives == 0:
            raise SettingsError(
                f"{self.cross_terms[0]}_weight is above 0, and negatives=0 leaves the cross-encoder nothing "
                "to compare; set negatives to 1 or more"
            )
        if self.questions_per_batch == 1 and self.negatives == 0:
            raise SettingsError(
                "questions_per_batch=1 with negatives=0 leaves no negative; "
                "set questions_per_batch to 2 or more, or negatives to 1 or more"
            )
        if self.compile and self.gradient_cache:
            raise SettingsError(
                "compile and gradient_cache are both true, and a compiled encoder's dropout would differ in "
                "the second pass from that in the first; set one of them to false"
            )
        if self.negative_last <= self.negative_first:
            raise SettingsError(
                f"negative_last={self.negative_last} is not above negative_first={self.negative_first}; "
                "widen the window"
            )
        return self


def parse_settings(values: Mapping[str, Any]) -> TrainSettings:
    """Settings from plain values (YAML, command line); strings are read as what the setting is.

    Raises:
        SettingsError: an unknown name (with the nearest known one), or a value that does not fit.
    """
    return parse_typed(TrainSettings, values)
