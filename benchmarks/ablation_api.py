"""The documentation corpus ``api:``: what each part of the method brings.

As in ``benchmarks.ablation_squad``. Questions are summary lines, passages signatures and bodies; the base
knows little of them, so that late interaction is well ahead of the single vector. The base is cut to 3
layers, and again whole. The collection is read from the packages that are installed here, so compare
figures of one machine alone.
"""

from benchmarks.ablation_figures import figures, options
from benchmarks.figures import ROOT, arguments, emit
from ernie_search.data import open_collection

CHANGES = {"mine.max_questions": 0, "warm-up.passage_length": 192, "cascade.passage_length": 192}
"""Fewer questions than SQuAD's, so all of them; longer passages."""
CLUSTERS = ["passage", "field:title", "field:module"]
"""Most passages have a title of their own; those of a module are alike."""


def main() -> None:
    """Run the rows that are left, then print what they say; ``--quick``: a few steps on a small corpus."""
    args = arguments(__doc__ or "", **options(ROOT / "runs" / "ablation_api"))
    emit(figures(open_collection("api:"), args, CHANGES, CLUSTERS), args.json)


if __name__ == "__main__":
    main()
