"""Our models and indexes in ``mteb.evaluate``, on a task made here; mteb itself stands on torch."""

import numpy as np
import pytest

pytest.importorskip("mteb", reason="the extra ernie-search[mteb] is not installed")
pytest.importorskip("torch", reason="mteb's tasks need torch")

import mteb
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.models_protocols import EncoderProtocol, SearchProtocol

from ernie_search.errors import DataError, SettingsError
from ernie_search.evaluation import evaluate_run
from ernie_search.integrations.mteb import ErnieSearchEncoder, ErnieSearchModel
from ernie_search.search import Searcher
from ernie_search.types import Query
from integrations_index import fill
from stub_encoder import StubEncoder, numbered_passages

PASSAGES = numbered_passages(60)
WORDS = [one.text.split() for one in PASSAGES]
QUERIES = [Query(f"q{n}", " ".join([*WORDS[n][:2], WORDS[n + 1][0], f"w{n}"])) for n in range(0, 40, 2)]
QRELS = {query.id: {f"p{n}": 2, f"p{n + 1}": 1} for query, n in zip(QUERIES, range(0, 40, 2), strict=True)}
"""So that some of it is found at the first rank, and some of it isn't."""


class LocalTask(AbsTaskRetrieval):
    """Data of this file as one of mteb's tasks."""

    metadata = TaskMetadata(
        name="LocalRetrieval",
        type="Retrieval",
        description="made-up words",
        reference=None,
        dataset={"path": "none", "revision": "1"},
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        date=("2020-01-01", "2020-01-02"),
        domains=["Written"],
        task_subtypes=[],
        license="cc0-1.0",
        annotations_creators="derived",
        dialect=[],
        sample_creation="created",
        bibtex_citation="",
    )
    top_ranked_docs = None

    def load_data(self, num_proc=None, **_):
        corpus = [{"id": one.id, "title": one.title, "text": one.text} for one in PASSAGES]
        queries = [{"id": one.id, "text": one.text} for one in QUERIES]
        split = {
            "corpus": Dataset.from_list(corpus),
            "queries": Dataset.from_list(queries),
            "relevant_docs": {key: dict(value) for key, value in QRELS.items()},
            "top_ranked": self.top_ranked_docs,
        }
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


def model() -> StubEncoder:
    return StubEncoder(dim=32, longest=30)


def measured(system, task=None) -> float:
    found = mteb.evaluate(
        system, task or LocalTask(), cache=None, co2_tracker=False, show_progress_bar=False
    ).task_results
    return found[0].scores["test"][0]["ndcg_at_10"]


@pytest.fixture
def index(tmp_path, monkeypatch):
    stub = model()
    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", lambda *_, **__: stub)
    return fill(tmp_path / "store", PASSAGES, stub)


def ours(index, mode) -> float:
    """Our own evaluation, equal scores in the order that mteb has them: by id, backwards."""
    run = Searcher.open(index).run(QUERIES, 60, mode=mode)
    untied = {
        q: {p: s + 1e-6 * n for n, (p, s) in enumerate(sorted(hits.items()))} for q, hits in run.items()
    }
    return float(np.mean(evaluate_run(QRELS, untied, ["nDCG@10"]).values["nDCG@10"]))


@pytest.mark.parametrize("mode", ["words", "dense", "late", "hybrid"])
def test_ndcg_agrees_with_our_own_evaluation(index, mode):
    expected = ours(index, mode)
    assert 0.1 < expected < 0.999
    assert measured(ErnieSearchModel(model(), mode=mode)) == pytest.approx(expected, abs=1e-4)
    assert measured(ErnieSearchModel(store=index, mode=mode)) == pytest.approx(expected, abs=1e-4)


def test_the_encoder_ranks_as_mode_dense(index):
    assert measured(ErnieSearchEncoder(model())) == pytest.approx(ours(index, "dense"), abs=1e-4)


def test_they_are_what_mteb_asks_for(index):
    assert isinstance(ErnieSearchEncoder(model()), EncoderProtocol)
    for one in (ErnieSearchModel(model(), mode="late"), ErnieSearchModel(store=index)):
        assert isinstance(one, SearchProtocol)
        assert not isinstance(one, EncoderProtocol)
    metas = [ErnieSearchModel(model(), mode=mode).mteb_model_meta for mode in ("dense", "late", "hybrid")]
    assert len({meta.name for meta in metas}) == 3  # mteb keeps results by name and revision
    assert [meta.model_type for meta in metas] == [["dense"], ["late-interaction"], ["hybrid"]]
    assert {meta.revision for meta in metas} == {model().fingerprint}


def test_reranking_tasks_rank_the_given_passages_alone():
    system = ErnieSearchModel(model(), mode="hybrid")
    task = LocalTask()
    task.load_data()
    split = task.dataset["default"]["test"]
    about = {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "default"}
    with pytest.raises(SettingsError, match="call index first"):
        system.search(split["queries"], top_k=5, **about)
    system.index(split["corpus"], encode_kwargs={}, num_proc=None, **about)
    only = {query.id: ["p3", "p0", "p7"] for query in QUERIES}
    found = system.search(
        split["queries"], top_k=2, top_ranked=only, encode_kwargs={}, num_proc=None, **about
    )
    assert all(len(hits) == 2 and set(hits) < {"p3", "p0", "p7"} for hits in found.values())


def test_what_cannot_be_evaluated_is_one_line(index, tmp_path):
    with pytest.raises(SettingsError, match="give model="):
        ErnieSearchModel()
    small = fill(tmp_path / "small", PASSAGES[:5], model())
    with pytest.raises(DataError, match="the store holds 5 passages, LocalRetrieval has 60"):
        measured(ErnieSearchModel(store=small))
