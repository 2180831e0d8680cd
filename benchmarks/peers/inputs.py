"""What all systems are given: one start, one list of examples a seed, one set of texts, one first stage.

The start is the recipe's warm-up, and for a peer that can only take the mean a warm-up with the mean. The
examples are the steps that this project's own trainer would see, with the teacher's scores. Each peer may put
its examples in its own order, as its sampler does.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.measure import dense_search, remove_vectors
from ernie_search._util.files import fingerprint, read_json, write_json
from ernie_search._util.hardware import prefers_bf16
from ernie_search.data import Collection
from ernie_search.evaluation import read_run, write_run
from ernie_search.mining import BM25
from ernie_search.mining.lists import Lists
from ernie_search.model import load
from ernie_search.pipeline.manifest import StageManifest
from ernie_search.pipeline.recipe import Recipe
from ernie_search.pipeline.runner import FinishedStages, run_stages
from ernie_search.pipeline.stage import InputPaths
from ernie_search.training import TrainSettings, prepare, train
from ernie_search.training.batches import StepBatches
from ernie_search.training.prepare import relevant, sample
from ernie_search.types import Query, Run

FIRST_DENSE, FIRST_BM25 = 100, 50
"""Passages a question that every late interaction re-ranks: the start's own best, and BM25's."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Files that every job names.

    Attributes:
        folder: of them all.
        given: the start and the lists.
        settings: of the recipe's last training.
        questions: of the measured split, and of the dev sample, by split.
        passages: ids, in the order of ``passages.jsonl``.
        first: what late interaction re-ranks, by split.
        bf16: whether it pays on this machine: then all train in it.
        fingerprint: of everything in it.
    """

    folder: Path
    given: InputPaths
    settings: TrainSettings
    questions: dict[str, list[Query]]
    passages: list[str]
    first: dict[str, Run]
    bf16: bool
    fingerprint: str

    def examples(self, seed: int) -> Path:
        """The file of a seed's examples."""
        return self.folder / f"examples-{seed}.jsonl"

    def plain(self, *, mean: bool) -> Path:
        """The transformer and the token head of the start, or of the one that takes the mean."""
        return self.folder / ("plain-mean" if mean else "plain")


def mean_start(recipe: Recipe, collection: Collection, folder: Path, start: str) -> str:
    """The recipe's warm-up with the mean for its pooling, trained if it has another one; else ``start``.

    Args:
        recipe: whose first stage is the warm-up.
        collection: of the recipe.
        folder: of the training; a finished one is read.
        start: the warm-up that is there.
    """
    settings = recipe.stages[0].training
    if settings is None or settings.pooling != "weighted":
        return start
    settings = settings.model_copy(update={"pooling": "mean", "evaluations": 0})
    return str(train(collection, folder, settings, base=recipe.base, layers=recipe.layers).last)


def shared_stages(recipe: Recipe, collection: Collection, folder: Path, make: bool) -> InputPaths:
    """What the recipe's last training is given by the stages before it, in ``folder/shared``.

    Args:
        recipe: whose last stage trains.
        collection: of the recipe.
        folder: an ablation's; it is only read, unless ``make``.
        make: run what is missing.
    """
    before = recipe.stages[:-1]
    folders = {stage.name: folder / "shared" / stage.name for stage in before}
    made = FinishedStages.none(recipe, collection, folders)
    for stage in before:
        manifest = StageManifest.read(folders[stage.name])
        if manifest is None and not make:
            raise SystemExit(
                f"{folders[stage.name]}: not finished; give --make 1, or run: "
                f"python -m benchmarks.ablation_squad --work {folder.parent} --parts {folder.name}"
            )
        if manifest is not None:
            plain = stage.settings.model_dump(mode="json")
            differing = [name for name, value in plain.items() if manifest.settings.get(name, value) != value]
            if differing:
                raise SystemExit(
                    f"{folders[stage.name]}: made with other settings ({', '.join(differing)}); give another "
                    "--ablation, or the same --set"
                )
            made.manifests[stage.name] = manifest
    if make:
        made = run_stages(recipe, len(before), collection, folders)
    return made.input_paths(recipe.inputs[-1])


def prepare_inputs(
    recipe: Recipe,
    collection: Collection,
    folder: Path,
    given: InputPaths,
    split: str,
    dev_questions: int,
    seeds: Iterable[int],
    mean: str = "",
) -> Inputs:
    """Write the files that are not there yet.

    Args:
        recipe: of the last training.
        collection: to train and measure on.
        folder: of the files.
        given: see :func:`shared_stages`.
        split: measured.
        dev_questions: so many of dev choose each peer's variant.
        seeds: one file of examples each.
        mean: see :func:`mean_start`; the start itself by default.
    """
    settings = recipe.stages[-1].training
    if settings is None or given.lists is None:
        raise SystemExit(f"recipe {recipe.name}: its last stage is no training on lists")
    settings = settings.model_copy(update={"evaluations": 0})
    lists, start = Lists.open(given.lists), load(Path(given.model))
    other = load(Path(mean or given.model))
    made_of = fingerprint(
        collection.fingerprint,
        lists.fingerprint,
        start.fingerprint,
        other.fingerprint,
        settings.model_dump(),
        split,
        dev_questions,
    )
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / "inputs.json"
    fresh = not told.is_file() or read_json(told)["made_of"] != made_of
    questions = {split: list(collection.queries(split))}
    judged = collection.qrels("dev")
    asked = [query for query in collection.queries("dev") if relevant(judged, query.id)]
    questions["dev"] = sample(asked, dev_questions, 0)
    passages = [passage.id for passage in collection.passages()]
    if fresh:
        for path in folder.glob("examples-*.jsonl"):
            path.unlink()
        _lines(folder / "passages.jsonl", (passage.full_text for passage in collection.passages()))
        everything = [query for queries in questions.values() for query in queries]
        _lines(folder / "questions.jsonl", (query.text for query in everything))
        _export(start, folder / "plain")
        _export(other, folder / "plain-mean")
        _first(start, collection, everything, folder)
        bf16 = settings.precision == "bf16" or (settings.precision == "auto" and prefers_bf16())
        write_json(told, {"made_of": made_of, "bf16": bf16})
    for seed in seeds:
        path = folder / f"examples-{seed}.jsonl"
        if not path.is_file():
            data = prepare(collection, settings.model_copy(update={"seed": seed}), lists)
            _lines(path, _examples(data.examples, data.passages, settings, seed))
    run = read_run(folder / "first.trec")
    first = {name: {q.id: run[q.id] for q in queries if q.id in run} for name, queries in questions.items()}
    bf16 = bool(read_json(told)["bf16"])
    return Inputs(folder, given, settings, questions, passages, first, bf16, made_of)


def _examples(examples: Any, texts: dict[str, str], settings: TrainSettings, seed: int) -> Iterable[Any]:
    """Each question of each step, with the texts and scores that this project's trainer would give it."""
    batches = StepBatches(
        examples,
        steps=settings.steps,
        questions=settings.questions_per_batch,
        negatives=settings.negatives,
        seed=seed,
    )
    for number in range(len(batches)):
        step = batches[number]
        for question, group, scores in zip(step.questions, step.groups, step.scores, strict=True):
            yield {"query": question, "passages": [texts[one] for one in group], "scores": known(scores)}


def known(scores: Sequence[float]) -> list[float]:
    """Scores without NaN, which no peer takes: a passage drawn from other questions has the lowest one.

    This project's own trainer leaves such a passage out of the terms with a teacher.
    """
    lowest = min((score for score in scores if not math.isnan(score)), default=0.0)
    return [lowest if math.isnan(score) else score for score in scores]


def _export(start: Any, plain: Path) -> None:
    """A start's transformer alone, its token head beside it, and both as M3's own files."""
    import torch

    start.backbone.save_pretrained(plain)
    start.tokenizer.save_pretrained(plain)
    path = plain / "tokenizer_config.json"
    config = read_json(path)
    # Older transformers, in the peers' environments, don't know the name that newer ones write.
    config["tokenizer_class"] = "BertTokenizerFast"
    config.pop("backend", None)
    write_json(path, config)
    weight = start.token_head.linear.weight.detach().clone()
    np.save(plain / "head.npy", weight.numpy())
    torch.save({"weight": weight, "bias": torch.zeros(len(weight))}, plain / "colbert_linear.pt")
    torch.manual_seed(0)
    torch.save(torch.nn.Linear(weight.shape[1], 1).state_dict(), plain / "sparse_linear.pt")


def _first(start: Any, collection: Collection, questions: list[Query], folder: Path) -> None:
    """The candidates of every late interaction: nobody's own model chose them."""
    found = BM25(collection.passages()).search(questions, FIRST_BM25)
    for task, texts in (
        ("query", [query.text for query in questions]),
        ("passage", [passage.full_text for passage in collection.passages()]),
    ):
        np.save(folder / f"dense-{task}.npy", start.encode_joint(texts, task, tokens=False).dense)
    ids = [query.id for query in questions]
    dense = dense_search(folder, ids, [passage.id for passage in collection.passages()])
    remove_vectors(folder)
    run: Run = {}
    for query in questions:
        ranked = dense.get(query.id, {})
        best = dict(sorted(ranked.items(), key=lambda hit: -hit[1])[:FIRST_DENSE])
        lowest = min(best.values(), default=0.0)
        added = [passage for passage in found.get(query.id, {}) if passage not in best]
        run[query.id] = best | {passage: lowest - 1 - place for place, passage in enumerate(added)}
    write_run(folder / "first.trec", run, tag="first")


def _lines(path: Path, values: Iterable[Any]) -> None:
    with open(path, "w", encoding="utf-8") as handle:
        for value in values:
            handle.write(json.dumps(value, ensure_ascii=False) + "\n")
