"""Teacher pairs a second over ``CrossEncoder.predict``, as a user calls it, and the order of the logits.

Each side scores the same SQuAD question-passage pairs, in the order in which lists give them (a question with
its positive, then with passages that BM25 ranks high), at most 256 tokens, in a fresh process, in turn. Both
load the same cross-encoder, made from the bundled base and untrained: how fast it is does not depend on what
it learnt, and the order of its logits, which lie close together, is the harder one to keep. Where ours runs
in bf16, theirs does so, too, in a second comparison: what is left is not the precision's.
"""

import shutil
import tempfile
import time
from typing import Any

from benchmarks.figures import BF16_LEFT_OUT, Figure, arguments, emit, squad_folder
from benchmarks.isolated import isolated
from benchmarks.small_squad import small_squad

LENGTH = 256
NEGATIVES = 15


def pairs(count: int) -> list[tuple[str, str]]:
    """Question and passage texts, list after list."""
    from ernie_search.data import open_collection
    from ernie_search.mining import BM25

    questions = -(-count // (1 + NEGATIVES))
    squad = small_squad(open_collection(str(squad_folder())), 2000, questions)
    texts = {passage.id: passage.full_text for passage in squad.passages()}
    asked = squad.queries("train")
    run, qrels = BM25(squad.passages()).search(asked, k=NEGATIVES + 5), squad.qrels("train")
    found = []
    for query in asked:
        relevant = [passage for passage, grade in qrels[query.id].items() if grade > 0]
        others = [passage for passage in run[query.id] if passage not in relevant][:NEGATIVES]
        found += [(query.text, texts[passage]) for passage in (relevant[0], *others)]
    return found[:count]


def make(folder: str) -> str:
    """The cross-encoder that both sides load, and the precision that ours runs in here."""
    from ernie_search._util.hardware import prefers_bf16
    from ernie_search.model import BUNDLED
    from ernie_search.model.cross_encoder import new_cross_encoder

    new_cross_encoder(BUNDLED, max_length=LENGTH, device="cpu").save(folder, create_model_card=False)
    return "bf16" if prefers_bf16("cpu") else "fp32"


def ours(folder: str, sample: list[tuple[str, str]], bf16: bool) -> dict[str, Any]:
    """Our scoring."""
    from ernie_search.model.cross_encoder import load_cross_encoder, score_pairs

    model = load_cross_encoder(folder, device="cpu")
    score_pairs(model, sample[:64], bf16=bf16)
    started = time.perf_counter()
    logits = score_pairs(model, sample, bf16=bf16)
    return {"rate": len(sample) / (time.perf_counter() - started), "logits": logits}


def theirs(folder: str, sample: list[tuple[str, str]], bf16: bool) -> dict[str, Any]:
    """sentence-transformers as a user calls it; or with its weights in bf16."""
    import torch
    from sentence_transformers import CrossEncoder

    options = {"model_kwargs": {"dtype": torch.bfloat16}} if bf16 else {}
    model = CrossEncoder(folder, device="cpu", **options)
    model.predict(sample[:64])
    started = time.perf_counter()
    logits = model.predict(sample)
    return {"rate": len(sample) / (time.perf_counter() - started), "logits": logits}


def main() -> None:
    """Rounds of: ours, theirs, theirs in bf16."""
    from scipy.stats import spearmanr

    args = arguments(__doc__ or "", rounds=3, pairs=2048)
    rounds, count = (1, min(512, args.pairs)) if args.quick else (args.rounds, args.pairs)
    folder = tempfile.mkdtemp()
    try:
        precision, sample = isolated(make, folder), isolated(pairs, count)
        found: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": [], "bf16": []}
        for _ in range(rounds):
            found["ours"].append(isolated(ours, folder, sample, precision == "bf16"))
            found["theirs"].append(isolated(theirs, folder, sample, False))
            if precision == "bf16":
                found["bf16"].append(isolated(theirs, folder, sample, True))
    finally:
        shutil.rmtree(folder)
    best = {name: max(runs, key=lambda run: run["rate"]) for name, runs in found.items() if runs}
    mine, peer = best["ours"], best["theirs"]
    settings = {"pairs": len(sample), "max_length": LENGTH, "rounds": rounds, "precision": precision}
    settings |= {} if precision == "bf16" else {"bf16": BF16_LEFT_OUT}
    order = float(spearmanr(mine["logits"], peer["logits"]).statistic)
    figures = []
    for key, name, other in (("", "", "theirs"), ("_bf16", " in bf16", "bf16")):
        if other in best:
            rate, their_rate = mine["rate"], best[other]["rate"]
            peer_name = f"CrossEncoder.predict{name}"
            figures.append(
                Figure(
                    *(f"over_sentence_transformers{key}", rate, "pairs/s", peer_name, their_rate),
                    rate / their_rate,
                    settings,
                )
            )
    logits = "logits of CrossEncoder.predict"
    emit([*figures, Figure("spearman", order, "rank correlation", logits, settings=settings)], args.json)


if __name__ == "__main__":
    main()
