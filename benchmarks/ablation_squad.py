"""SQuAD test over the whole corpus: what each part of the method brings, under one recipe.

The recipe is ``squad`` with the base cut to 3 layers, where there is headroom, and again whole, with
passages cut at 128 tokens and fewer steps (``--set`` changes any of it). Seeds are independent from the
warm-up on. Shared stages run once; each row and seed is trained, measured and kept in ``--work``, so an
interrupted call goes on and a later one adds rows. Choose on ``--split dev``; test is for the last look.
``--leak-free 1`` leaves the positives of dev and test out of all negatives, in folders of its own.
"""

from benchmarks.ablation_figures import figures, options
from benchmarks.figures import ROOT, arguments, emit, squad_folder
from ernie_search.data import open_collection

CLUSTERS = ["passage", "field:title"]
"""A title is a Wikipedia article."""


def main() -> None:
    """Run the rows that are left, then print what they say; ``--quick``: a few steps on a small corpus."""
    args = arguments(__doc__ or "", **options(ROOT / "runs" / "ablation_squad"))
    emit(figures(open_collection(str(squad_folder())), args, {}, CLUSTERS), args.json)


if __name__ == "__main__":
    main()
