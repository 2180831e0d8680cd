"""Ablations: one recipe, its last training repeated row by row with changes, compared in a table."""

from ernie_search.ablation.ablate import Ablation, ablate
from ernie_search.ablation.rows import Row, chosen_rows, declared_rows

__all__ = ["Ablation", "Row", "ablate", "chosen_rows", "declared_rows"]
