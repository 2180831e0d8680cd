"""The weighted parts of the loss, and what is logged beside them; the same for every trainer."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ernie_search.losses.lead import Lead
from ernie_search.losses.settings import LossSettings
from ernie_search.losses.terms import TERMS, StepReadings


class Means:
    """Means of values by name since they were last taken."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add scalars by name; they stay on their device."""
        for name, value in values.items():
            before, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = before.detach() + value.detach(), count + 1

    def take(self) -> dict[str, float]:
        """The means, rounded to five places; then begin anew."""
        found = {name: round(value.item() / count, 5) for name, (value, count) in self._sums.items()}
        self._sums.clear()
        return found


class LossParts(nn.Module):
    """The active terms of :data:`~ernie_search.losses.terms.TERMS`, each times its weight.

    Attributes:
        lead: of the teachers.
        means: of raw terms, leads, weights and entropies, since they were last taken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lead = Lead()
        self.means = Means()

    def token_gradient(self, settings: LossSettings, *, training: bool) -> Tensor | None:
        """The share of the gradient at the token vectors that reaches the encoder; ``None``: all of it.

        Where late interaction is not ahead of the single vector, what is good for the one costs the other,
        and gives nothing back.
        """
        wanted = settings.late_gradient == "lead" and settings.follow_lead and training
        taught = settings.interaction_weight > 0 and settings.interaction_teacher == "late"
        if not (wanted and taught and settings.dense_weight > 0):
            return None
        return self.lead.share("interaction").clone()

    def weighted(
        self,
        step: StepReadings,
        *,
        training: bool,
        noted: bool = True,
        use: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """``loss_NAME`` for each active term.

        Args:
            step: its readings.
            training: whether the weights follow the lead. While a model is evaluated they do not, so that
                losses of different steps can be compared.
            noted: add to :attr:`means` what is logged of this step.
            use: called with each part as soon as it is there; what it returns takes the part's place.
        """
        settings = step.settings
        follows = training and settings.follow_lead
        shares = self.lead.follow(step) if follows else {}
        parts = {}
        for name in settings.active_terms:
            value = TERMS[name](step)
            part = value * settings.weight(name)
            logged = {f"raw_{name}": value}
            if name in shares:
                part = part * shares[name]
                logged[f"lead_{name}"] = self.lead.mean(name)
                logged[f"weight_{name}"] = settings.weight(name) * shares[name]
            parts[f"loss_{name}"] = part if use is None else use(part)
            if noted:
                self.means.add(logged)
        if noted:
            self.means.add(step.entropies)
        return parts
