"""What each part of the method brings: one recipe, its last training anew row by row, compared in a table."""

from ernie_search.ablation.rows import Row, chosen_rows, declared_rows
from ernie_search.ablation.runs import Ablation, ablate

__all__ = ["Ablation", "Row", "ablate", "chosen_rows", "declared_rows"]
