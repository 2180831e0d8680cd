"""The whole loss for sentence-transformers' own trainer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ernie_search.errors import ModelError, SettingsError, TrainingError
from ernie_search.losses.candidates import Candidates, candidates
from ernie_search.losses.copies import COPY_WORDS, copies
from ernie_search.losses.lead import LEAD_FILE
from ernie_search.losses.parts import LossParts
from ernie_search.losses.settings import LossSettings
from ernie_search.losses.terms import StepReadings, check_dropout
from ernie_search.model import EncoderOutput, JointEncoder, ScoreSettings, adopt
from ernie_search.model.pooling import keep_positive, word_weights

Features = Mapping[str, Any]
WITH_SCORES = {"cascade_weight": 1.0}
"""What the defaults have in addition where a dataset has scores."""


class ErnieSearchLoss(nn.Module):
    """Trains single vector and late interaction of one encoder together, the second teaching the first.

    A small projection of the token states, the token head, gives the encoder a second reading of the same
    forward pass: late interaction. Both are trained on the labels, and late interaction teaches the single
    vector how to rank the candidates of the batch (self on-the-fly distillation). A column with the scores of
    a cross-encoder adds the cascade: cross-encoder over late interaction over single vector. The weight of a
    distillation follows its teacher's lead; see :class:`~ernie_search.losses.lead.Lead`.

    The candidates of an anchor are all positives and negatives of the batch. A text that occurs several times
    is one candidate, and the positives of equal anchors are no negatives of each other. Anchors copied from
    their positives (spans, titles) are left out of interaction distillation, as far as the texts are not cut.

    The model becomes a :class:`~ernie_search.model.JointEncoder` in place
    (:func:`~ernie_search.model.adopt`), so that ``trainer.save_model`` and checkpoints hold the token head.
    What is saved is a plain SentenceTransformer to anybody else, and to ``ernie_search.load`` a model with
    both readings.

    Args:
        model: a SentenceTransformer that starts with a Transformer. Its similarity (cosine or dot) scores the
            single vectors.
        settings: weights, temperatures, and who teaches whom. By default those of
            :class:`~ernie_search.losses.settings.LossSettings`, and ``cascade_weight`` 1 for batches with
            scores.
        score_settings: width of the token vectors, lengths and prompts of a model that has no token head yet;
            by default the model's own, and 128 numbers a token.
        seed: of a fresh token head.

    Raises:
        ModelError: the model can't have a token head.
        SettingsError: settings from which nothing is learned, or that need a teacher that isn't in a dataset.

    References:
        - ERNIE-Search (Lu et al. 2022): https://arxiv.org/abs/2205.09153
        - Late interaction: ColBERT (Khattab and Zaharia 2020): https://arxiv.org/abs/2004.12832

    Requirements:
        1. (anchor, positive) pairs, or (anchor, positive, negative_1, ..., negative_n) with the same number
           of negatives in each row
        2. For scores: one for the positive and each negative, in their order, in a column named label,
           labels, score or scores; NaN where there is none

    Inputs:
        +-------------------------------------------------+----------------------------------------------+
        | Texts                                           | Labels                                       |
        +=================================================+==============================================+
        | (anchor, positive) pairs                        | none                                         |
        +-------------------------------------------------+----------------------------------------------+
        | (anchor, positive, negative_1, ..., negative_n) | none                                         |
        +-------------------------------------------------+----------------------------------------------+
        | (anchor, positive, negative_1, ..., negative_n) | [cross(anchor, positive),                    |
        |                                                 | cross(anchor, negative_1), ...]              |
        +-------------------------------------------------+----------------------------------------------+

    Recommendations:
        - The token head is fresh: give it a higher rate, ``learning_rate_mapping={"token_head": 1e-3}``.
        - Before the loss is made, ``fit_start(adopt(model), passages)`` of ``ernie_search.model`` lets the
          head begin where the untrained token states' own late interaction is, weighs question tokens, and
          can pool by trained weights of tokens.
        - Without negatives set ``dataloader_drop_last=True``: a last batch of one pair has no negative.
        - Pass ``callbacks=[loss.callback]``: leads are then logged, and resumed with a checkpoint.

    Relations:
        - ``MultipleNegativesRankingLoss`` is the term ``dense`` of this loss alone.
        - ``DistillKLDivLoss`` is, up to its scale, the term ``direct``, and ``MarginMSELoss`` ``margin``.
        - ``ernie-search train`` adds gradient caching, steps shared by several processes, attention and
          frozen teachers; its terms are the same code.

    Example:
        ::

            from datasets import Dataset
            from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
            from ernie_search.losses import ErnieSearchLoss

            model = SentenceTransformer("sentence-transformers/all-MiniLM-L6-v2")
            dataset = Dataset.from_dict({
                "anchor": ["Where does tea grow?", "Which crop stands in water?"],
                "positive": ["Assam grows half of India's tea.", "Rice is grown in flooded fields."],
                "negative": ["Tea is drunk hot.", "Olives need hot summers."],
            })
            loss = ErnieSearchLoss(model)
            trainer = SentenceTransformerTrainer(
                model=model, train_dataset=dataset, loss=loss, callbacks=[loss.callback]
            )
            trainer.train()
            model.save_pretrained("joint")
    """

    def __init__(
        self,
        model: SentenceTransformer,
        settings: LossSettings | None = None,
        *,
        score_settings: ScoreSettings | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        chosen = settings or LossSettings()
        chosen.check_terms()
        if chosen.attention_weight > 0 or (
            chosen.interaction_weight > 0 and chosen.interaction_teacher == "frozen"
        ):
            raise SettingsError(
                "attention_weight and interaction_teacher=frozen need a model as teacher, which no dataset "
                "holds; leave them out, or train with ernie-search train"
            )
        if chosen.interaction_weight > 0 and chosen.distillation_candidates == "list":
            raise SettingsError(
                "distillation_candidates=list: a dataset's rows have no more of a list than their own "
                "columns; set it to batch or own, or train with ernie-search train"
            )
        if chosen.still_teacher:
            raise SettingsError(
                "still_teacher needs a second pass, which this loss does not make; set it to false, or train "
                "with ernie-search train"
            )
        self.model = adopt(model, score_settings, seed=seed)
        check_dropout(self.model, chosen)
        self._student = (self.model,)  # stays unwrapped: a tuple is not a submodule
        self.settings, self._given = chosen, settings is not None
        self.parts = LossParts()
        self.callback = LeadCallback(self)

    def forward(
        self, sentence_features: Iterable[Features], labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The weighted parts of one batch, by name; the trainer adds them up.

        Args:
            sentence_features: tokenized columns: anchors, positives, then negatives.
            labels: ``(Q, 1 + n)`` scores of a cross-encoder, if the dataset has them.

        Raises:
            TrainingError: a batch that this loss can't be computed of.
        """
        columns = [dict(one) for one in sentence_features]
        student = self.student
        settings = self._settings_of(columns, labels)
        # Before the passes are begun: on a GPU, reading ids after them would wait for them.
        leaves_out = settings.interaction_weight > 0 and settings.copied_questions == "left_out"
        tokenizer = student.tokenizer if leaves_out else None
        who = _candidates(columns, set(student.special_ids.tolist()), tokenizer).to(student.device)
        asks, student.attach_tokens = student.attach_tokens, settings.needs_tokens
        student.token_gradient = self.parts.token_gradient(settings, training=student.training)
        try:
            step = self._readings(settings, columns, who, labels)
            training = student.training  # while evaluated, nothing is added to what the training logs
            return self.parts.weighted(step, training=training, noted=training)
        finally:
            student.attach_tokens = asks

    def take_raw(self) -> dict[str, float]:
        """Means of raw parts, leads, weights and the teachers' entropies since the last call."""
        return self.parts.means.take()

    def get_config_dict(self) -> dict[str, Any]:
        """The settings, for the model card."""
        return self.settings.model_dump()

    @property
    def citation(self) -> str:
        """The paper, for the model card."""
        return """
@misc{lu2022erniesearch,
      title={ERNIE-Search: Bridging Cross-Encoder with Dual-Encoder via Self On-the-fly Distillation for Dense Passage Retrieval},
      author={Yuxiang Lu and Yiding Liu and Jiaxiang Liu and Yunsheng Shi and Zhengjie Huang and others},
      year={2022},
      eprint={2205.09153},
      archivePrefix={arXiv},
}
"""  # noqa: E501 - BibTeX's own form

    @property
    def student(self) -> JointEncoder:
        """The model itself, not the trainer's wrapper."""
        model = extract_model_from_parallel(self.model, keep_torch_compile=False)
        if model is not self._student[0]:  # the trainer's model_init has made another one
            if not isinstance(model, JointEncoder):
                raise ModelError(
                    "the model in training has no token head: return adopt(SentenceTransformer(...)) of "
                    "ernie_search.model from model_init"
                )
            self._student = (model,)
        return self._student[0]

    def _settings_of(self, columns: Sequence[Features], labels: Tensor | None) -> LossSettings:
        """The settings for this batch, which must fit its columns."""
        if len(columns) < 2 or any("input_ids" not in one for one in columns):
            raise TrainingError(
                f"ErnieSearchLoss needs tokenized texts in columns anchor, positive, negatives; it got "
                f"{len(columns)} columns of texts: choose them with dataset.select_columns"
            )
        settings, width = self.settings, len(columns) - 1
        if width < 2 and settings.interaction_weight > 0 and settings.distillation_candidates == "own":
            raise TrainingError(
                "distillation_candidates=own: rows of an anchor and a positive have nothing to rank; add a "
                "column of negatives, or set it to batch"
            )
        if labels is None:
            if settings.cross_terms:
                raise TrainingError(
                    f"{settings.cross_terms[0]}_weight is above 0 and the dataset has no scores; add a "
                    "column scores with one for the positive and each negative, or set it to 0"
                )
            return settings
        if width < 2 or labels.ndim != 2 or labels.shape[1] != width:
            raise TrainingError(
                f"scores of shape {tuple(labels.shape)} for {width} passages a row; give one for the "
                "positive and each of one or more negatives, in the columns' order, or remove the column"
            )
        if not settings.cross_terms and self._given:
            raise TrainingError(
                "the dataset has scores and no term reads them; set cascade_weight or direct_weight above 0, "
                "or remove the column"
            )
        return settings if self._given else settings.model_copy(update=WITH_SCORES)

    def _readings(
        self, settings: LossSettings, columns: list[dict[str, Any]], who: Candidates, labels: Tensor | None
    ) -> StepReadings:
        questions = self._read(columns[:1])[0]
        passages = self._read(columns[1:])
        count = len(who.positive)
        # Passages come column by column, candidates question by question.
        places = torch.arange(who.allowed.shape[1], device=who.positive.device)

        def second_pass() -> Tensor:
            again = self._read(columns[:1])[0]
            other = self._read(columns[1:]) if settings.dual_passages else passages
            scores = torch.cat([again.cls @ block.cls.t() for block in other], dim=1)
            return scores[:, step.columns]

        def none(*args: Any) -> Any:
            raise SettingsError("this teacher is not in a dataset")

        step = StepReadings(
            settings,
            questions,
            passages,
            places.reshape(-1, count).t().flatten(),
            who,
            None if labels is None else labels.to(questions.cls),
            second_pass,
            none,
            none,
            {},
            whole=_itself,
            mine=slice(0, count),
            recompute=False,
            frugal=False,
        )
        return step

    def _read(self, columns: list[dict[str, Any]]) -> list[EncoderOutput]:
        """Both readings of columns, from one pass where they can be joined."""
        normalise = self._student[0].score_settings.similarity == "cosine"
        joined = _joined(columns)
        passes = columns if joined is None else [joined]
        return [EncoderOutput.from_features(self.model(dict(one)), normalise=normalise) for one in passes]


class LeadCallback(TrainerCallback):
    """Logs what the loss collects beside its parts, and keeps the leads in the trainer's checkpoints."""

    def __init__(self, loss: ErnieSearchLoss) -> None:
        self.loss = loss

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Continue from the checkpoint of the step that the trainer resumed from."""
        self.loss.parts.lead.wait_for_all()
        folder = _checkpoint(args, state)
        if state.global_step and (folder / LEAD_FILE).is_file():
            self.loss.parts.lead.read(folder)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put token weights back above their least, and add what the labels said, on all processes alike."""
        weigher = word_weights(self.loss.student)
        if weigher is not None:
            keep_positive(weigher.emb_layer.weight)
        self.loss.parts.lead.settle()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add the leads to a checkpoint."""
        if state.is_world_process_zero and _checkpoint(args, state).is_dir():
            self.loss.parts.lead.write(_checkpoint(args, state))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Add raw parts, leads, weights and entropies to the line of the log."""
        if logs is not None and "loss" in logs:
            found = self.loss.take_raw()
            logs.update(found)
            if state.log_history:
                state.log_history[-1].update(found)


def _checkpoint(args: Any, state: Any) -> Path:
    return Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"


def _itself(rows: Tensor) -> Tensor:
    return rows


def _joined(columns: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Columns of tokens as one batch, one column after the other; None where they can't be joined."""
    first = columns[0]
    if len(columns) == 1 or "cu_seq_lens_q" in first or any(one.keys() != first.keys() for one in columns):
        return None
    whole: dict[str, Any] = {}
    for key, value in first.items():
        values = [one[key] for one in columns]
        if isinstance(value, Tensor) and value.ndim == 2:
            longest = max(one.shape[1] for one in values)
            whole[key] = torch.cat([nn.functional.pad(one, (0, longest - one.shape[1])) for one in values])
        elif isinstance(value, Tensor) or any(one != value for one in values):
            return None
        else:
            whole[key] = value
    return whole


def _candidates(columns: Sequence[Features], special: set[int], tokenizer: Any = None) -> Candidates:
    """Who competes with whom, texts told apart by their tokens; with a tokenizer, who is copied, too."""
    anchors, *passages = [_texts(one, special) for one in columns]
    groups = [list(group) for group in zip(*passages, strict=True)]
    relevant: dict[str, set[str]] = {}
    for anchor, positive in zip(anchors, passages[0], strict=True):
        relevant.setdefault(anchor, set()).add(positive)
    # A passage that is the question's own text says nothing of it.
    who = candidates(groups, [relevant[anchor] | {anchor} for anchor in anchors], strict=False)
    if tokenizer is not None:
        who = replace(who, copied=_copies(tokenizer, anchors, passages[0]))
    if not bool((who.allowed.sum(dim=1) > 1).any()):
        raise TrainingError(
            f"a batch of {len(anchors)} has no negative for any anchor; set per_device_train_batch_size to 2 "
            "or more and dataloader_drop_last to true, or add a column of negatives"
        )
    return who


CUT_TOKENS = 2
"""Tokens of a copy that may be others in its passage: at its ends words may be cut otherwise."""


def _copies(tokenizer: Any, anchors: Sequence[str], positives: Sequence[str]) -> tuple[bool, ...] | None:
    """Which anchors are copied from their positives: decoded only where most tokens are the same."""
    questions, passages = [""] * len(anchors), [""] * len(anchors)
    for row, pair in enumerate(zip(anchors, positives, strict=True)):
        asked, there = (key.split() for key in pair)
        if len(asked) >= COPY_WORDS and len(set(asked) - set(there)) <= CUT_TOKENS:
            questions[row], passages[row] = (
                tokenizer.decode([int(one) for one in ids]) for ids in (asked, there)
            )
    return copies(questions, passages)


def _texts(features: Features, special: set[int]) -> list[str]:
    """A key of each row: its tokens without prompt, padding and special tokens."""
    ids = features["input_ids"].cpu()
    if "cu_seq_lens_q" in features:  # rows one after the other, without padding
        flat = ids.flatten()
        rows = [flat[start:end] for start, end in pairwise(features["cu_seq_lens_q"].tolist())]
    elif "attention_mask" in features:
        mask = features["attention_mask"].cpu().bool()
        rows = [row[kept] for row, kept in zip(ids, mask, strict=True)]
    else:
        rows = list(ids)
    prompt = features.get("prompt_length")
    if isinstance(prompt, Tensor):
        prompt = prompt.flatten()[0]
    first = int(prompt or 0)
    return [" ".join(str(one) for one in row[first:].tolist() if one not in special) for row in rows]
