"""Settings of trainings, typed, with unknown names refused."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from ernie_search._util.settings import TypedSettings, between_commas, parse_typed
from ernie_search.errors import SettingsError
from ernie_search.losses.settings import LossSettings
from ernie_search.training.tracker_names import TrackerNames

UNRELATED = {"onnx", "report_to"}
"""Settings that change no weight: a training resumes under another value of them."""
LONGEST_LIST = 63
"""List passages of a question: with its positive 64 candidates."""


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


class ExampleSettings(TrainerSettings):
    """Which questions and passages the steps of the joint encoder see, and the head's own rate.

    The attributes of :class:`TrainerSettings`, and:

    Attributes:
        negatives: a step sees ``questions_per_batch * (1 + negatives)`` passages.
        max_questions: train on a seeded sample of so many questions; 0 takes all.
        negative_first, negative_last: the window of BM25 ranks that negatives are drawn from.
        leave_out_splits: other splits (dev, test), whose relevant passages are no negatives of BM25's ranks.
        head_learning_rate: peak rate of the fresh token head; ``learning_rate`` is the encoder's.
        list_passages: for each question, so many further passages of its own list (or all that it has left),
            denoised or not, which the terms with a cross-encoder see, and interaction distillation with
            ``distillation_candidates=list``. Their vectors are cached, so they get no gradient.
        refresh_steps: steps after which the cached vectors are made anew, as they are after each checkpoint;
            0 for never: they stay those of the first weights.
    """

    negatives: int = Field(1, ge=0)
    max_questions: int = Field(0, ge=0)
    negative_first: int = Field(0, ge=0)
    negative_last: int = Field(30, ge=1)
    leave_out_splits: list[str] = Field(default_factory=list)
    head_learning_rate: float = Field(1e-3, gt=0)
    list_passages: int = Field(0, ge=0, le=LONGEST_LIST)
    refresh_steps: int = Field(100, ge=0)

    _between_commas = field_validator("leave_out_splits", mode="before")(between_commas)


class TrainSettings(LossSettings, ExampleSettings):
    """Training of the joint encoder: a warm-up (losses 1 and 2 of docs/method.md), or the cascade.

    The attributes of :class:`ExampleSettings`, those of :class:`~ernie_search.losses.settings.LossSettings`,
    and:

    Attributes:
        query_length, passage_length: tokens kept of a text.
        pooling: how token states become the single vector: as the base has it, their mean, [CLS], or a mean
            under trained weights, one for each entry of the vocabulary. A model that has such weights keeps
            them.
        pooling_start: where those weights begin: at its idf in the collection, the root of it, or all alike,
            which is the mean.
        pooling_learning_rate: of those weights, whose usual size is 1.
        question_weights: what a question's token counts in late interaction: as much as any other, its idf in
            the collection, or the root of it, as search has it.
        head: where a fresh token head begins: at a random rotation, or at the projection that keeps most of
            the untrained token states (their PCA over passages of the collection).
        hidden_dropout: of every other dropout layer of the encoder than those of attention weights; None
            leaves them as the base has them.
        gradient_cache: encode every micro-batch twice and keep no graph between: memory then hardly grows
            with questions_per_batch, and a step takes longer by one more forward; the gradients are the same.
        precision: ``auto`` measures whether bf16 is faster on this machine; ``tf32`` is fp32 with products
            rounded to 10 bits (GPUs from Ampere on).
        compile: compile the encoder (``torch.compile``): the first steps take minutes, the others less. Not
            together with gradient_cache, whose second pass must have the dropout of the first.
        dev_questions, dev_passages: size of the dev sample that is measured during training.
        onnx: write an ONNX graph beside the weights of ``best`` and ``last``, through which questions are
            encoded faster, and without torch. It takes some seconds. To a finished training, which stays as
            it is, ``ernie-search export --onnx`` adds them.
    """

    query_length: int = Field(64, ge=4)
    passage_length: int = Field(256, ge=8)
    pooling: Literal["base", "mean", "cls", "weighted"] = "base"
    pooling_start: Literal["even", "root", "idf"] = "idf"
    pooling_learning_rate: float = Field(1e-2, gt=0)
    question_weights: Literal["even", "root", "idf"] = "even"
    head: Literal["rotation", "pca"] = "rotation"
    hidden_dropout: float | None = Field(None, ge=0, lt=1)
    gradient_cache: bool = False
    precision: Literal["auto", "bf16", "fp32", "tf32"] = "auto"
    compile: bool = False
    dev_questions: int = Field(200, ge=1)
    dev_passages: int = Field(800, ge=2)
    onnx: bool = True

    @property
    def listed(self) -> int:
        """Passages of each question's list beyond its group that a step shows: none if no term reads them."""
        return self.list_passages if self.reads_lists else 0

    def check(self) -> "TrainSettings":
        """Refuse settings that cannot be trained, before anything is loaded.

        Raises:
            SettingsError: no loss at all, no negatives at all, an empty window of ranks, or two settings that
                exclude each other.
        """
        self.check_terms()
        if self.distillation_candidates == "list" and self.interaction_weight > 0 and not self.list_passages:
            raise SettingsError(
                "distillation_candidates=list with list_passages=0: there is no more of a list than the "
                "question's own group; set list_passages to 1 or more, or distillation_candidates to own"
            )
        if self.distillation_candidates == "own" and self.interaction_weight > 0 and not self.negatives:
            raise SettingsError(
                "distillation_candidates=own with negatives=0: a question's own group is its positive alone, "
                "with nothing to rank; set negatives to 1 or more, or distillation_candidates to batch"
            )
        if self.cross_terms and self.negatives + self.list_passages == 0:
            raise SettingsError(
                f"{self.cross_terms[0]}_weight is above 0, and negatives=0 leaves the cross-encoder nothing "
                "to compare; set negatives or list_passages to 1 or more"
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
