"""Shares of a GPU's matrix peak, and questions a second over sentence-transformers' trainer in the same run.

A model of BERT-base's size with seeded weights, texts of made-up words that fill 144 tokens, all sides in
fresh processes, in turn. The peak is that of an 8192^3 product in the precision that ``doctor`` chooses
there. Counted are the operations of the encoder (three times as many for a step, forward and backward), not
those of MaxSim, the losses and the optimizer. ``fused_maxsim_difference``: of the fused kernel's scores and
gradients from our own form's, where the kernel is installed.

Without a GPU it stops with one line; ``--device cpu --quick`` tries the script itself on a tiny model.
"""

import itertools
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.encode import flops
from benchmarks.figures import Figure, arguments, emit, median
from benchmarks.isolated import isolated
from benchmarks.train_step import theirs

LENGTH = 144
WARM_UP = 3
"""Steps left out: kernels are chosen and memory is taken in them."""


def make_base(folder: Path, tiny: bool) -> str:
    """An untrained encoder with the bundled base's vocabulary."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    from ernie_search.model import bundled_base

    tokenizer = AutoTokenizer.from_pretrained(str(bundled_base()))
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer), **(small if tiny else {}))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_source(folder: Path, questions: int) -> str:
    """A BEIR folder of made-up words: each question's words are in its passage, so that BM25 has work.

    Passages have ``LENGTH`` words of one token or more, so that they are cut.
    """
    from ernie_search.data import MemoryCollection, write_beir
    from ernie_search.types import Passage, Query

    generator = random.Random(0)
    syllables = [a + b for a in "bdfghklmnprstvw" for b in "aeiou"]
    words = ["".join(generator.choices(syllables, k=3)) for _ in range(5000)]
    texts = [generator.choices(words, k=LENGTH) for _ in range(questions)]
    corpus = [Passage(f"p{place}", " ".join(text)) for place, text in enumerate(texts)]
    asked = [Query(f"q{place}", " ".join(text[:40:4])) for place, text in enumerate(texts)]
    qrels = {f"q{place}": {f"p{place}": 1} for place in range(questions)}
    write_beir(MemoryCollection("made up", "made up", corpus, asked, {"train": qrels}), folder)
    return str(folder)


def peak(device: str, precision: str, size: int) -> float:
    """Floating-point operations a second of the best of some square products."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        left @ right
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return 2.0 * size**3 / min(seconds[1:])


def encoding(base: str, source: str, count: int) -> dict[str, float]:
    """Operations a second of the encoder over passages, single vectors only."""
    from ernie_search.data import open_collection
    from ernie_search.model import ScoreSettings, from_base
    from ernie_search.model.encode import tokenize

    model = from_base(base, settings=ScoreSettings(passage_length=LENGTH))
    texts = [passage.full_text for passage in open_collection(source).passages()][:count]
    model.encode_joint(texts, "passage", tokens=False)
    started = time.perf_counter()
    model.encode_joint(texts, "passage", tokens=False)
    seconds = time.perf_counter() - started
    lengths = [len(ids) for ids in tokenize(model, texts, "passage").ids]
    work = sum(flops(length, model.backbone.config) for length in lengths)
    return {"rate": work / seconds, "passages": len(texts) / seconds}


def training(base: str, source: str, questions: int, steps: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Median seconds a step of our trainer, and the encoder's operations in one."""
    from ernie_search.data import open_collection
    from ernie_search.model import ScoreSettings, from_base
    from ernie_search.model.encode import tokenize
    from ernie_search.training import parse_settings, prepare, train
    from ernie_search.training.batches import StepBatches

    values = {"steps": steps, "questions_per_batch": questions, "negatives": 1, "passage_length": LENGTH}
    settings = parse_settings({**values, "evaluations": 0, "checkpoints": 1, **changes})
    collection, times = open_collection(source), []

    def observe(event: str, told: dict[str, Any]) -> None:
        if event == "step":
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        train(collection, Path(folder) / "run", settings, base=base, observer=observe)
    model = from_base(base, settings=ScoreSettings(passage_length=LENGTH))
    data = prepare(collection, settings)
    batches = StepBatches(data.examples, steps=steps, questions=questions, negatives=1, seed=settings.seed)
    step = batches[0]
    shown = list(dict.fromkeys(passage for group in step.groups for passage in group))
    ids = tokenize(model, step.questions, "query").ids
    ids += tokenize(model, [data.passages[passage] for passage in shown], "passage").ids
    seconds = [b - a for a, b in itertools.pairwise(times)][WARM_UP:]
    work = 3 * sum(flops(len(one), model.backbone.config) for one in ids)
    return {"seconds": median(seconds), "rate": work / median(seconds)}


def their_training(base: str, source: str, questions: int, steps: int, precision: str) -> float:
    """Median seconds a step of sentence-transformers' trainer on the same steps."""
    return theirs(LENGTH, steps, precision, base=base, source=source, questions=questions)


def kernel_difference(device: str) -> float:
    """The fused kernel against our own form."""
    import torch

    from ernie_search.losses.fused import difference, fused_maxsim
    from ernie_search.losses.late_interaction import own_maxsim

    return difference(torch.device(device), own_maxsim, fused_maxsim)


def _over(
    key: str, ours: dict[str, Any], other: str, theirs: dict[str, Any], settings: dict[str, Any]
) -> Figure:
    """Questions a second of one training over another's."""
    rates = [settings["questions"] / side["seconds"] for side in (ours, theirs)]
    return Figure(key, rates[0], "questions/s", other, rates[1], rates[0] / rates[1], settings)


def main() -> None:
    """Peak, encoding, training; then training with what is optional."""
    args = arguments(__doc__ or "", device="cuda", questions=256, steps=20, passages=20_000)
    import torch

    from ernie_search._util.hardware import prefers_bf16
    from ernie_search.losses.fused import installed

    device, tiny = args.device, args.quick
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("benchmarks.gpu: no GPU that torch can use; see: ernie-search doctor")
    questions, steps, passages = (8, WARM_UP + 3, 64) if tiny else (args.questions, args.steps, args.passages)
    precision = "bf16" if prefers_bf16(device) else "fp32"
    name = torch.cuda.get_device_name() if device == "cuda" else "processor"
    common = {"device": name, "precision": precision, "length": LENGTH, "questions": questions}
    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder, "base"), tiny)
        source = make_source(Path(folder, "source"), max(passages, 4 * questions))
        best = isolated(peak, device, precision, 512 if tiny else 8192)
        encoded = isolated(encoding, base, source, passages)
        step = (base, source, questions, steps)
        ours = isolated(training, *step, {})
        peer = isolated(their_training, *step, precision)
        compiled = isolated(training, *step, {"compile": True}) if device == "cuda" else None
    tera = best / 1e12
    what = f"square product, {precision}"
    figures = [
        Figure("train_peak_share", ours["rate"] / best, "share", what, tera, settings=common),
        Figure("encode_peak_share", encoded["rate"] / best, "share", what, tera, settings=common),
        Figure(
            "over_sentence_transformers",
            questions / ours["seconds"],
            "questions/s",
            "its trainer, MultipleNegativesRankingLoss",
            questions / peer,
            peer / ours["seconds"],
            common,
        ),
    ]
    if compiled:
        figures.append(_over("compiled_over_plain", compiled, "without compile", ours, common))
    if device == "cuda" and installed():
        worst = isolated(kernel_difference, device)
        figures.append(Figure("fused_maxsim_difference", worst, "relative", "our own form", settings=common))
    emit(figures, args.json)


if __name__ == "__main__":
    main()
