"""The loss of one step: both readings of every text, then the terms of the loss by name.

With gradient caching, or on several ranks, the graph is cut at the readings: the terms leave their gradients
there, and one backward at the end carries them into the encoder.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ernie_search.errors import TrainingError
from ernie_search.losses import Candidates, maxsim
from ernie_search.losses.parts import LossParts
from ernie_search.losses.terms import LateScores, ListedPassages, StepReadings
from ernie_search.model import EncoderOutput, JointEncoder
from ernie_search.model.attention import AttentionTargets
from ernie_search.training.list_cache import ListCache
from ernie_search.training.settings import TrainSettings
from ernie_search.training.teachers import StepTeachers
from ernie_search.training.world import World, gather_rows, share_blocks

GradientPath = Literal["whole", "cut", "again"]
"""How gradients reach the encoder: in one graph; from readings where the graph was cut; or, with gradient
caching, by encoding the micro-batches again."""


@dataclass(frozen=True, slots=True)
class RandomState:
    """State of the random generators of the processor and, if it is another one, of the device."""

    processor: Tensor
    device: Tensor | None
    kind: torch.device

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        """The present state."""
        own = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)
        return cls(torch.get_rng_state(), own, device)

    def restore(self) -> None:
        """Set the generators back to this state."""
        torch.set_rng_state(self.processor)
        if self.device is not None:
            torch.get_device_module(self.kind).set_rng_state(self.device, self.kind)


@dataclass(slots=True)
class _MicroBatch:
    """One pass of the encoder: its inputs, its outputs, and the leaves that stand for them in the terms."""

    features: dict[str, Tensor]
    state: RandomState | None
    outputs: list[Tensor]
    leaves: list[Tensor]


@dataclass(slots=True)
class EncoderPasses:
    """The encoder's passes of one step, and how gradients return through them.

    Attributes:
        model: the student, in the trainer's wrapper where it has one.
        normalise: whether its single vectors are normalised.
        path: of the gradients.
        device: of the model.
    """

    model: Any
    normalise: bool
    path: GradientPath
    device: torch.device
    _passes: list[_MicroBatch] = field(default_factory=list)

    def encode(self, parts: Sequence[dict[str, Tensor]]) -> list[EncoderOutput]:
        """Encode micro-batches; the terms' gradients arrive at what is returned."""
        return [self._encode(part) for part in parts]

    def _encode(self, features: dict[str, Tensor]) -> EncoderOutput:
        if self.path == "whole":
            return self._read(features)
        state = RandomState.now(self.device) if self.path == "again" else None
        with torch.set_grad_enabled(self.path == "cut"):
            output = self._read(features)
        outputs = _tensors(output)
        leaves = [tensor.detach().requires_grad_() for tensor in outputs]
        kept = outputs if self.path == "cut" else []
        self._passes.append(_MicroBatch(features, state, kept, leaves))
        return EncoderOutput(leaves[0], leaves[1] if len(leaves) > 1 else None, output.mask, output.weights)

    def _read(self, features: dict[str, Tensor]) -> EncoderOutput:
        return EncoderOutput.from_features(self.model(dict(features)), normalise=self.normalise)

    def carry_back(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the same values, whose sum's backward carries the gradients of the leaves into the encoder.

        Call it when the leaves have their gradients. The backward can run once.
        """
        if self.path == "cut":
            pairs = [
                (output, leaf.grad)
                for one in self._passes
                for output, leaf in zip(one.outputs, one.leaves, strict=True)
                if leaf.grad is not None
            ]
            outputs, grads = [output for output, _ in pairs], [grad for _, grad in pairs]
            carried = _Cut.apply(len(values), grads, *values, *outputs)  # type: ignore[no-untyped-call]
        else:
            anchor = torch.zeros(1, device=self.device, requires_grad=True)
            carried = _Again.apply(self, anchor, *values)  # type: ignore[no-untyped-call]
        return list(carried)

    def encode_again(self, scale: Tensor) -> None:
        """Encode each micro-batch again, with a graph and the same dropout, and pass its gradient back.

        Args:
            scale: multiplies the cached gradients.
        """
        waiting, self._passes = self._passes, []
        after = RandomState.now(self.device)
        while waiting:
            one = waiting.pop(0)
            if one.state is not None:
                one.state.restore()
            # Ranks sum their gradients once per step, with the last micro-batch of each.
            alone = (
                self.model.no_sync if waiting and hasattr(self.model, "no_sync") else contextlib.nullcontext
            )
            with torch.enable_grad(), alone():
                outputs = _tensors(self._read(one.features))
                grads = [leaf.grad for leaf in one.leaves]
                if all(grad is None for grad in grads):
                    grads[0] = torch.zeros_like(one.leaves[0])
                reached = [
                    (out, grad * scale) for out, grad in zip(outputs, grads, strict=True) if grad is not None
                ]
                torch.autograd.backward([out for out, _ in reached], [grad for _, grad in reached])
        after.restore()


class _Cut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: int, grads: list[Tensor], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.grads = grads
        return tuple(value.clone() for value in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale, cached = _scale(grads), ctx.grads
        ctx.grads = []
        return None, None, *(None for _ in grads), *(grad * scale for grad in cached)


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, passes: EncoderPasses, anchor: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.passes = passes
        return tuple(value.clone() for value in values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        ctx.passes.encode_again(_scale(grads))
        return None, None, *(None for _ in grads)


def _scale(grads: Sequence[Tensor]) -> Tensor:
    """The factor by which all parts of the loss are multiplied."""
    together = torch.stack(list(grads))
    if not bool((together == together[0]).all()) and bool(together.isfinite().all()):
        raise TrainingError(
            "the parts of this loss were computed together, so that only their sum has a gradient; "
            "call backward on the sum, or set gradient_cache to false"
        )
    return together[0]


def _tensors(output: EncoderOutput) -> list[Tensor]:
    return [output.cls] if output.tokens is None else [output.cls, output.tokens]


def _backward(part: Tensor) -> Tensor:
    """The part without its graph, whose gradient is passed on at once."""
    if part.requires_grad:
        part.backward()  # type: ignore[no-untyped-call]
    return part.detach()


@dataclass(slots=True)
class DetachedScores:
    """Cuts the graph at the scores as well, so that a term's own graph lives no longer than the term."""

    _pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __call__(self, scores: Tensor) -> Tensor:
        """The scores as a leaf; as they are where they need no gradient."""
        if not scores.requires_grad:
            return scores
        leaf = scores.detach().requires_grad_()
        self._pairs.append((scores, leaf))
        return leaf

    def backward(self) -> None:
        """Carry the gradients into what made the scores, all at once, as ranks exchange them there."""
        reached = [(scores, leaf.grad) for scores, leaf in self._pairs if leaf.grad is not None]
        self._pairs.clear()
        if reached:
            torch.autograd.backward([scores for scores, _ in reached], [grad for _, grad in reached])


@contextlib.contextmanager
def _still(model: JointEncoder) -> Iterator[None]:
    """Put the model into eval mode, so that no dropout acts, and back."""
    was_training = model.training
    model.train(False)
    try:
        yield
    finally:
        model.train(was_training)


WINNERS_KEPT = 1 << 23
"""Positions of maxima (4 bytes each) that gradient caching keeps; if more, the backward finds them again."""


class JointLoss(nn.Module):
    """The weighted sum of :data:`~ernie_search.losses.terms.TERMS`.

    This is the trainer's top-level loss. It holds the model under the name that the trainer replaces by the
    wrapped one, and returns its parts weighted, as the trainer sums them. What is logged beside them is
    collected until :meth:`take_raw`. Teachers are not submodules: they are not
    trained, saved or moved with the student.

    With gradient caching, or on several ranks, only the sum of the parts has a gradient.
    """

    def __init__(
        self,
        model: JointEncoder,
        settings: TrainSettings,
        teachers: StepTeachers | None = None,
        world: World | None = None,
        lists: ListCache | None = None,
    ) -> None:
        """Compute the loss of this model.

        Args:
            model: the student.
            settings: of the training.
            teachers: whom the steps ask.
            world: the ranks that share a step.
            lists: vectors of the list passages, where the steps show any.
        """
        super().__init__()
        self.model = model
        self._student = (model,)  # stays unwrapped: a tuple is not a submodule
        self.settings = settings
        self.teachers = teachers or StepTeachers()
        self.world, self.lists = world or World(), lists
        self.normalise = model.score_settings.similarity == "cosine"
        self.parts = LossParts()

    @property
    def student(self) -> JointEncoder:
        """The model itself, not the trainer's wrapper."""
        return self._student[0]

    @property
    def path(self) -> GradientPath:
        """How gradients reach the encoder."""
        if self.settings.gradient_cache:
            return "again"
        return "cut" if self.world.size > 1 else "whole"

    def forward(self, features: dict[str, Any], labels: None = None) -> dict[str, Tensor]:
        """Weighted loss parts of one collated step, without those whose weight is zero."""
        path, training = self.path, self.student.training
        self.student.token_gradient = self.parts.token_gradient(self.settings, training=training)
        passes = EncoderPasses(self.model, self.normalise, path, self.student.device)
        cut = DetachedScores()
        step = self._readings(features, passes, (lambda scores: scores) if path == "whole" else cut)
        use = None if path == "whole" else _backward
        weighted = self.parts.weighted(step, training=training, use=use)
        if path == "whole":
            return weighted
        cut.backward()
        return dict(zip(weighted, passes.carry_back(list(weighted.values())), strict=True))

    def _readings(self, features: dict[str, Any], passes: EncoderPasses, cut: Any) -> StepReadings:
        settings, world = self.settings, self.world
        masks = (features["positive"], features["allowed"], features["own"])
        who = Candidates(*masks, features.get("denoised"), features.get("copied"))
        count, step_lists = len(who.positive), self._listed(features)
        questions = self._questions(passes.encode(features["questions"]), features)
        passages, columns = self._passages(passes.encode(features["passages"]), features)
        recompute = settings.gradient_cache and (
            questions.tokens is not None
            and questions.tokens.shape[0] * questions.tokens.shape[1] * len(columns) > WINNERS_KEPT
        )

        def whole(rows: Tensor) -> Tensor:
            return cut(gather_rows(rows, world, count))  # type: ignore[no-any-return]

        def second_pass() -> Tensor:
            again = self._questions(passes.encode(features["questions"]), features)
            other, places = passages, columns
            if settings.dual_passages:
                other, places = self._passages(passes.encode(features["passages"]), features)
            return whole(torch.cat([again.cls @ block.cls.t() for block in other], dim=1)[:, places])

        def frozen_late() -> Tensor:
            _, scores = self._late_of(self.teachers.frozen_late(), features)
            return whole(scores)

        def still_late() -> LateScores:
            with _still(self.student):
                asked, scores = self._late_of(self.student, features)
            listed = None
            if self.settings.distillation_candidates == "list" and step_lists is not None:
                listed = whole(step_lists.cached.late(*asked.late(), asked.weights))
            return LateScores(whole(scores), listed)

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
            listed=step_lists,
            still_late=still_late,
        )

    def _listed(self, features: dict[str, Any]) -> ListedPassages | None:
        """The list passages of a step that shows some."""
        if "listed" not in features:
            return None
        if self.lists is None:
            raise TrainingError("the step shows list passages, and no vectors of them are cached")
        allowed = features["listed_allowed"]
        cached = self.lists.read(features["step"], features["listed"], allowed.shape[1])
        return ListedPassages(cached, allowed, features["listed_denoised"], features["listed_scores"])

    def _late_of(self, model: Any, features: dict[str, Any]) -> tuple[EncoderOutput, Tensor]:
        """Another reading of this rank's questions, and their ``(q, P)`` late scores, without a gradient."""
        with torch.no_grad():
            reading = EncoderPasses(model, self.normalise, "whole", self.student.device)
            asked = self._questions(reading.encode(features["questions"]), features)
            answers, places = self._taught_passages(reading, features)
            scores = torch.cat(
                [maxsim(*asked.late(), *block.late(), query_weights=asked.weights) for block in answers],
                dim=1,
            )
            return asked, scores[:, places]

    def _questions(self, parts: list[EncoderOutput], features: dict[str, Any]) -> EncoderOutput:
        return EncoderOutput.stack(parts, features["question_order"])

    def _passages(
        self, parts: list[EncoderOutput], features: dict[str, Any]
    ) -> tuple[list[EncoderOutput], Tensor]:
        """Blocks of passages of all ranks, and ``(P,)``: the row, among theirs, of each candidate place.

        Without gradient caching a rank's passages are one padded block; with it each micro-batch is a block,
        as a common one would be a second copy.
        """
        order: Tensor = features["passage_order"]
        if not self.settings.gradient_cache and parts:
            parts, order = [EncoderOutput.stack(parts, order)], torch.arange(len(order), device=order.device)
        anchor = torch.zeros(1, device=self.student.device, requires_grad=torch.is_grad_enabled())
        blocks, place = share_blocks(parts, order, anchor, self.world)
        return blocks, place[features["columns"]]

    def _taught_passages(
        self, reading: EncoderPasses, features: dict[str, Any]
    ) -> tuple[Iterator[EncoderOutput] | list[EncoderOutput], Tensor]:
        """As :meth:`_passages`, of a teacher; one block at a time in a single process."""
        if not self.settings.gradient_cache or self.world.size > 1:
            return self._passages(reading.encode(features["passages"]), features)
        order: Tensor = features["passage_order"]
        _, place = share_blocks([], order, order, self.world)
        return (reading.encode([part])[0] for part in features["passages"]), place[features["columns"]]

    def take_raw(self) -> dict[str, float]:
        """Means of raw parts, leads, weights and the teachers' entropies since the last call."""
        return self.parts.means.take()
