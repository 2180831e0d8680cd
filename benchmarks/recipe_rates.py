"""What one core does a second of what the recipes `msmarco` and `nq` ask for, at their models' own sizes.

The weights are random: speed does not depend on what they learnt. Processor seconds of one thread count, so
that other work beside matters little. `docs/reproduce.md` computes its hours from these rates.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.encode import flops
from benchmarks.figures import Figure, arguments, emit, squad_folder
from benchmarks.isolated import isolated

LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
"""ERNIE 2.0 large; base is ``BertConfig``'s own default."""
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
LONG = 1200
"""Characters: SQuAD's passages of so many are cut at every length that is measured."""
DIM = 768
QUESTION = "what is the name of the place where this happened, and who was there?"


def make_base(folder: Path, sizes: dict[str, int]) -> str:
    """An untrained encoder with the bundled base's vocabulary."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    from ernie_search.model import bundled_base

    tokenizer = AutoTokenizer.from_pretrained(str(bundled_base()))
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)  # type: ignore[arg-type]
    tokenizer.save_pretrained(folder)
    return str(folder)


def long_texts(count: int) -> list[str]:
    """SQuAD passages that are longer than any limit here."""
    from ernie_search.data import open_collection

    passages = open_collection(str(squad_folder())).passages()
    return [passage.full_text for passage in passages if len(passage.full_text) > LONG][:count]


def one_thread() -> None:
    """Of torch, and fp32 or bf16 decided before a clock starts."""
    import torch

    from ernie_search._util.hardware import prefers_bf16

    torch.set_num_threads(1)
    prefers_bf16("cpu")


def product() -> float:
    """Operations a second of the best of some square products."""
    from benchmarks.gpu import peak

    one_thread()
    time.perf_counter = time.process_time  # in this process alone, which ends with the measurement
    return peak("cpu", "fp32", 2048)


def encoding(base: str, length: int, count: int) -> dict[str, float]:
    """Passages a second, single vectors only, and operations."""
    from ernie_search.model import ScoreSettings, from_base

    one_thread()
    model, texts = from_base(base, settings=ScoreSettings(passage_length=length)), long_texts(count)
    model.encode_joint(texts[:2], "passage", tokens=False)
    started = time.process_time()
    model.encode_joint(texts, "passage", tokens=False)
    rate = count / (time.process_time() - started)
    return {"rate": rate, "flops": rate * flops(length, model.backbone.config)}


def scoring(base: str, length: int, count: int) -> dict[str, float]:
    """Pairs a second of the cross-encoder, and operations."""
    from ernie_search.model.cross_encoder import new_cross_encoder, score_pairs

    one_thread()
    model = new_cross_encoder(base, max_length=length, device="cpu")
    pairs = [(QUESTION, text) for text in long_texts(count)]
    score_pairs(model, pairs[:1])
    started = time.process_time()
    score_pairs(model, pairs)
    rate = count / (time.process_time() - started)
    return {"rate": rate, "flops": rate * flops(length, _config(model))}


def teaching(base: str, length: int, count: int) -> dict[str, float]:
    """Pairs a second, forward and backward, and operations: the better of two goes."""
    from ernie_search.model.cross_encoder import new_cross_encoder, pair_batches

    one_thread()
    model = new_cross_encoder(base, max_length=length, device="cpu").train()
    pairs = [(QUESTION, text) for text in long_texts(count)]
    (features,) = pair_batches(model, pairs, count * length).features
    seconds = []
    for _ in range(2):
        started = time.process_time()
        model(dict(features))["scores"].sum().backward()
        model.zero_grad()
        seconds.append(time.process_time() - started)
    return {"rate": count / min(seconds), "flops": 3 * count * flops(length, _config(model)) / min(seconds)}


def training(base: str, length: int, questions: int, negatives: int) -> dict[str, float]:
    """Questions a second of a joint step, and the encoder's operations."""
    from ernie_search.data import open_collection
    from ernie_search.model import ScoreSettings, from_base
    from ernie_search.model.encode import tokenize
    from ernie_search.pipeline.plan import PILOT_STEPS, pilot, seconds_per_step
    from ernie_search.training import parse_settings, prepare
    from ernie_search.training.batches import StepBatches

    one_thread()
    shape = {"questions_per_batch": questions, "negatives": negatives, "passage_length": length}
    settings = parse_settings({**shape, "steps": PILOT_STEPS, "evaluations": 0, "max_questions": 0})
    model = from_base(base, settings=ScoreSettings(passage_length=length))
    data = prepare(pilot(open_collection(str(squad_folder()))), settings)
    started = time.process_time()
    seconds_per_step(model, data, settings)
    seconds = time.process_time() - started
    work = 0.0
    order = {"steps": PILOT_STEPS, "questions": questions, "negatives": negatives, "seed": settings.seed}
    batches = StepBatches(data.examples, **order)
    for step in (batches[number] for number in range(PILOT_STEPS)):
        shown = list(dict.fromkeys(passage for group in step.groups for passage in group))
        ids = tokenize(model, step.questions, "query").ids
        ids += tokenize(model, [data.passages[passage] for passage in shown], "passage").ids
        work += 3 * sum(flops(len(one), model.backbone.config) for one in ids)
    return {"rate": PILOT_STEPS * questions / seconds, "flops": work / seconds}


def searching(questions: int, chunks: int) -> float:
    """Products of vectors a second, as mining searches: the best 200 of each question kept."""
    import numpy as np

    from ernie_search.search.over_shards import PASSAGES, _Nearest

    random = np.random.default_rng(0)
    best = _Nearest(random.standard_normal((questions, DIM), dtype=np.float32), 200)
    names = np.array([str(number) for number in range(PASSAGES)], dtype=object)
    seconds = 0.0
    for _ in range(chunks):
        held = random.standard_normal((PASSAGES, DIM), dtype=np.float32)
        started = time.process_time()
        best.add(names, held)
        seconds += time.process_time() - started
    return questions * chunks * PASSAGES / seconds


def bm25(passages: int) -> dict[str, float]:
    """Passages a second into BM25's index, and how many bytes a passage the process grows by at its peak."""
    from itertools import islice

    from ernie_search.data import open_collection
    from ernie_search.mining import BM25

    held = list(islice(open_collection(str(squad_folder())).passages(), passages))
    BM25(held[:512])
    before, started = _kilobytes("VmRSS"), time.process_time()
    BM25(iter(held))
    seconds, grown = time.process_time() - started, _kilobytes("VmHWM") - before
    text = sum(len(passage.full_text.encode()) for passage in held)
    return {"rate": len(held) / seconds, "bytes": 1024 * grown / len(held), "text": text / len(held)}


def _kilobytes(what: str) -> int:
    """Of this process alone: ``ru_maxrss`` begins with that of the process that started it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def _config(model: Any) -> Any:
    return model[0].auto_model.config


def main() -> None:
    """All of them, each in a process of its own."""
    args = arguments(__doc__ or "", texts=24, pairs=8)
    # BLAS reads these at its start, in the processes that are spawned.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    texts, pairs = (8, 4) if args.quick else (args.texts, args.pairs)
    figures = []

    def add(name: str, found: dict[str, float], unit: str, **settings: Any) -> None:
        rate = {"gflops": round(found["flops"] / 1e9, 1)} if "flops" in found else {}
        figures.append(Figure(name, found["rate"], unit, settings={**settings, **rate}))

    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder, "base"), TINY if args.quick else {})
        large = make_base(Path(folder, "large"), TINY if args.quick else LARGE)
        figures.append(Figure("product", isolated(product) / 1e9, "GFLOP/s", settings={"fp32": "2048^3"}))
        for length in (128, 160):
            add("encode", isolated(encoding, base, length, texts), "passages/s", length=length)
        for length in (160, 192):
            add("score", isolated(scoring, large, length, pairs), "pairs/s", length=length)
        for questions, negatives in ((8, 1), (4, 7)):
            found = isolated(training, base, 128, questions, negatives)
            add("train", found, "questions/s", questions=questions, negatives=negatives, length=128)
        add("train_teacher", isolated(teaching, large, 160, pairs // 2), "pairs/s", length=160)
    figures.append(
        Figure("search", isolated(searching, 256, 4) / 1e6, "million products/s", settings={"dim": DIM})
    )
    words = isolated(bm25, 20_000)
    add("bm25", words, "passages/s", text_bytes=round(words["text"]))
    figures.append(Figure("bm25_peak", words["bytes"], "bytes a passage"))
    emit(figures, args.json)


if __name__ == "__main__":
    main()
