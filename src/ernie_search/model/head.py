"""The token head: last-layer states to the short, normalised vectors that late interaction compares."""

import torch
from torch import Tensor, nn

HEAD_FILE = "token_head.safetensors"


class TokenHead(nn.Module):
    """``H (B, L, hidden) -> (B, L, d)``, each row L2-normalised (ColBERT, Khattab & Zaharia 2020).

    It starts as a random rotation onto ``d`` dimensions, which keeps angles nearly as they are in ``H``:
    late interaction is useful from the first step, and can teach at once.
    """

    def __init__(self, hidden: int, token_dim: int, seed: int = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, token_dim, bias=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            nn.init.orthogonal_(self.linear.weight, generator=generator)

    @property
    def token_dim(self) -> int:
        """``d``."""
        return self.linear.out_features

    def forward(self, states: Tensor) -> Tensor:
        """Project and normalise in fp32, whatever precision the encoder runs in."""
        with torch.autocast(states.device.type, enabled=False):
            projected = nn.functional.linear(states.float(), self.linear.weight.float())
            return nn.functional.normalize(projected, dim=-1)
