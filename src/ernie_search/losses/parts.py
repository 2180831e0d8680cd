"""The weighted parts of the loss, and what is logged beside them; the same for every trainer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ernie_search.losses.lead import Lead
from ernie_search.losses.terms import TERMS, StepReadings


class Means:
    """Means of values by name since they were last taken."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Add a scalar; it stays on its device."""
        before, count = self._sums.get(name, (torch.zeros_like(value), 0))
        self._sums[name] = before + value.detach(), count + 1

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

    def weighted(
        self,
        step: StepReadings,
        *,
        training: bool,
        all_ranks: bool = False,
        use: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """``loss_NAME`` for each active term.

        Args:
            step: its readings.
            training: whether the weights follow the lead. While a model is evaluated they do not, so that
                losses of different steps can be compared.
            all_ranks: see :meth:`Lead.follow`.
            use: called with each part as soon as it is there; what it returns takes the part's place.
        """
        settings = step.settings
        follows = training and settings.follow_lead
        shares = self.lead.follow(step, all_ranks=all_ranks) if follows else {}
        parts = {}
        for name in settings.active_terms:
            value = TERMS[name](step)
            self.means.add(f"raw_{name}", value)
            part = value * settings.weight(name)
            if name in shares:
                part = part * shares[name]
                self.means.add(f"lead_{name}", self.lead.mean(name))
                self.means.add(f"weight_{name}", settings.weight(name) * shares[name])
            parts[f"loss_{name}"] = part if use is None else use(part)
        for name, value in step.entropies.items():
            self.means.add(name, value)
        return parts
