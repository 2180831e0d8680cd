"""An index made of a collection, resumed after a kill, and brought up to date with its source."""

import json
import os
import shutil
from pathlib import Path

import pytest

import ernie_search
from ernie_search._util.settings import read_record
from ernie_search.encoding import build
from ernie_search.encoding.build import Built, add_to_index, make_index, noted_source
from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index import Origin, open_index, verify
from ernie_search.index.lance import LanceIndex
from ernie_search.search import Searcher
from stub_encoder import StubEncoder

Corpus = dict[str, tuple[str, str, dict[str, object]]]


def corpus(count: int, *, changed: int = 0, first: int = 0) -> Corpus:
    """Passages ``p0`` ...; the last ``changed`` of them with another text, title or field."""
    rows: Corpus = {}
    for number in range(first, count):
        title, text, year = f"Title{number}" if number % 2 else "", f"word{number} common", 1990 + number
        if number >= count - changed:
            title, text, year = [
                (f"{title}New", text, year),
                (title, f"{text} now", year),
                (title, text, year + 100),
            ][number % 3]
        rows[f"p{number}"] = (title, text, {"year": year})
    return rows


def write(folder: Path, rows: Corpus) -> str:
    """A BEIR folder of those passages."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"_id": key, "title": title, "text": text, "metadata": fields})
        for key, (title, text, fields) in rows.items()
    ]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "word1"}) + "\n")
    first = next(iter(rows))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\nq\t{first}\t1\n")
    return str(folder)


class Counting(StubEncoder):
    """Counts the passages that it encodes, and may be killed before one."""

    def __init__(self, kill_at: int | None = None, **options: object) -> None:
        super().__init__(**options)
        self.encoded, self.kill_at = 0, kill_at

    def encode_joint(self, texts, task, **options):
        if task == "passage":
            if self.kill_at is not None and self.encoded + len(texts) > self.kill_at:
                raise KeyboardInterrupt
            self.encoded += len(texts)
        return super().encode_joint(texts, task, **options)


@pytest.fixture
def model(monkeypatch) -> Counting:
    encoder = Counting()
    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", lambda path, **options: encoder)
    return encoder


def made(source: str, folder: Path, **options) -> Built:
    built = make_index(source, folder.parent / "model", folder, shard_size=4, **options)
    built.index.close()
    return built


def held(folder: Path) -> Corpus:
    with open_index(folder) as index:
        ids = [one for part in index.scan(["id"]) for one in part.column("id").to_pylist()]
        return {one.id: (one.title, one.text, dict(one.fields)) for one in index.get(sorted(ids))}


def counts(built: Built) -> tuple[int, int, int, int, int]:
    return built.encoded, built.added, built.replaced, built.removed, built.unchanged


def test_made_and_then_up_to_date(tmp_path, model):
    source = write(tmp_path / "crops", corpus(10))
    assert counts(made(source, tmp_path / "i")) == (10, 10, 0, 0, 0)
    assert held(tmp_path / "i") == corpus(10)
    again = made(source, tmp_path / "i")
    assert (again.up_to_date, counts(again), model.encoded) == (True, (0, 0, 0, 0, 10), 10)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["crops", "i"]


def test_only_what_changed_is_encoded_and_what_is_gone_removed(tmp_path, model):
    source = write(tmp_path / "crops", corpus(10))
    made(source, tmp_path / "i")
    reader = open_index(tmp_path / "i")
    after = corpus(12, changed=4, first=2)
    write(tmp_path / "crops", after)
    assert counts(made(source, tmp_path / "i")) == (3, 2, 2, 2, 6)
    assert model.encoded == 13  # where a field alone changed, the vectors are used again
    assert held(tmp_path / "i") == after
    assert len(reader) == 10
    reader.close()
    with open_index(tmp_path / "i") as index:
        assert verify(index, StubEncoder()).problems == []
        assert Searcher(StubEncoder(), index).search("word11 common now", 1)[0].id == "p11"
    assert made(source, tmp_path / "i").up_to_date


def test_other_questions_alone_encode_nothing(tmp_path, model):
    source = write(tmp_path / "crops", corpus(10))
    made(source, tmp_path / "i")
    with open(tmp_path / "crops" / "queries.jsonl", "a", encoding="utf-8") as handle:
        handle.write(json.dumps({"_id": "r", "text": "word2"}) + "\n")
    rows = corpus(10)
    write(tmp_path / "crops", dict(reversed(rows.items())))  # the same passages in another order
    built = made(source, tmp_path / "i")
    assert (built.up_to_date, counts(built), model.encoded) == (True, (0, 0, 0, 0, 10), 10)


@pytest.mark.parametrize("kill_at", [0, 3, 4, 8, 11])
def test_a_killed_encoding_is_resumed(tmp_path, monkeypatch, kill_at):
    source = write(tmp_path / "crops", corpus(12))
    loaded = [Counting(kill_at), Counting()]
    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", lambda path, **options: loaded[0])
    with pytest.raises(KeyboardInterrupt):
        made(source, tmp_path / "i")
    loaded.pop(0)
    built = made(source, tmp_path / "i")
    assert counts(built)[1:] == (12, 0, 0, 0)
    assert loaded[0].encoded == 12 - kill_at // 4 * 4
    assert held(tmp_path / "i") == corpus(12)


@pytest.mark.parametrize("method", ["upsert", "rewrite", "delete", "commit", "optimize"])
@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_killed_update_leaves_the_old_state_or_the_new(tmp_path, model, monkeypatch, method, calls):
    source = write(tmp_path / "crops", corpus(30))
    made(source, tmp_path / "i")
    after = corpus(32, changed=12, first=3)
    write(tmp_path / "crops", after)
    real, done = getattr(LanceIndex, method), []

    def killed(self, *arguments, **options):
        if len(done) == calls:
            raise KeyboardInterrupt
        done.append(method)
        return real(self, *arguments, **options)

    monkeypatch.setattr(LanceIndex, method, killed)
    try:
        made(source, tmp_path / "i")
    except KeyboardInterrupt:
        assert held(tmp_path / "i") in (corpus(30), after)
    monkeypatch.setattr(LanceIndex, method, real)
    made(source, tmp_path / "i")
    assert held(tmp_path / "i") == after
    assert model.encoded == 30 + 8  # four have another field alone; what was encoded before the kill was kept
    assert made(source, tmp_path / "i").up_to_date


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_a_killed_filling_is_resumed_even_if_the_source_changed(tmp_path, model, monkeypatch, calls):
    monkeypatch.setattr("ernie_search.index.opening.COMMIT_EVERY", 1)
    source = write(tmp_path / "crops", corpus(20))
    real, done = LanceIndex.upsert, []

    def killed(self, batch):
        if len(done) == calls:
            raise KeyboardInterrupt
        done.append(batch)
        return real(self, batch)

    monkeypatch.setattr(LanceIndex, "upsert", killed)
    with pytest.raises(KeyboardInterrupt):
        made(source, tmp_path / "i")
    monkeypatch.setattr(LanceIndex, "upsert", real)
    after = corpus(21, changed=3, first=2)
    write(tmp_path / "crops", after)
    made(source, tmp_path / "i")
    assert held(tmp_path / "i") == after
    assert made(source, tmp_path / "i").up_to_date


def test_what_was_added_or_removed_by_other_means_is_undone(tmp_path, model):
    source = write(tmp_path / "crops", corpus(6))
    made(source, tmp_path / "i")
    more = write(tmp_path / "more", {"new": ("", "another word", {"year": 1})})
    assert add_to_index(more, tmp_path / "i", tmp_path / "model") == 1
    with open_index(tmp_path / "i", mode="w") as index:
        index.delete(["p0"])
        index.commit()
        assert index.origin is not None
        assert index.origin.state == "changed"
    assert counts(made(source, tmp_path / "i")) == (1, 1, 0, 1, 5)
    assert held(tmp_path / "i") == corpus(6)


def test_shards_are_kept_where_asked_for_and_are_a_source(tmp_path, model):
    source = write(tmp_path / "crops", corpus(10))
    made(source, tmp_path / "i", shards=tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("*.parquet"))) == 3
    again = make_index(tmp_path / "kept", None, tmp_path / "j")
    assert (counts(again), again.index.spec.tokens) == ((0, 10, 0, 0, 0), "fp16")
    again.index.close()
    after = corpus(11, changed=2, first=1)
    write(tmp_path / "crops", after)
    shutil.rmtree(tmp_path / "kept")
    made(source, tmp_path / "other", shards=tmp_path / "kept")
    updated = make_index(tmp_path / "kept", None, tmp_path / "j")
    assert counts(updated) == (0, 1, 1, 1, 8)
    updated.index.close()
    assert held(tmp_path / "j") == after
    with pytest.raises(SettingsError, match="is a folder of shards already"):
        make_index(tmp_path / "kept", None, tmp_path / "k", shards=tmp_path / "k2")


def test_the_folder_of_unfinished_shards_is_nobody_elses(tmp_path, model):
    source = write(tmp_path / "crops", corpus(3))
    with pytest.raises(SettingsError, match="where shards lie until the index is complete; name another"):
        made(source, tmp_path / "i", shards=tmp_path / "i.shards")
    made(source, tmp_path / "i")
    (tmp_path / "i.shards").mkdir()
    (tmp_path / "i.shards" / "mine.txt").write_text("kept")
    assert made(source, tmp_path / "i").up_to_date
    write(tmp_path / "crops", corpus(4))
    with pytest.raises(IndexStateError, match=r"i\.shards: holds 'mine.txt' but no manifest"):
        made(source, tmp_path / "i")
    assert (tmp_path / "i.shards" / "mine.txt").read_text() == "kept"
    assert held(tmp_path / "i") == corpus(3)


def test_the_index_and_its_source_move_together(tmp_path, model):
    write(tmp_path / "here" / "crops", corpus(5))
    made(str(tmp_path / "here" / "crops"), tmp_path / "here" / "i")
    (tmp_path / "here").rename(tmp_path / "there")
    assert made(str(tmp_path / "there" / "crops"), tmp_path / "there" / "i").up_to_date


REFUSED = {
    "another source": (
        lambda t: {"source": write(t / "b", corpus(3))},
        "made from .*/a, not .*/b; add these",
    ),
    "another model": (lambda t: {}, r"made by model stub \(f00d\), not other \(beef\)"),
    "other tokens": (lambda t: {"tokens": "int8"}, "made with tokens='fp16', not 'int8'"),
    "other fields": (lambda t: {"fields": {"year": "float"}}, "made with fields="),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line_before_anything_is_encoded(tmp_path, model, monkeypatch, case):
    source = write(tmp_path / "a", corpus(3))
    made(source, tmp_path / "i")
    change, message = REFUSED[case]
    options = {"source": source, **change(tmp_path)}
    if case == "another model":
        other = Counting(name="other", fingerprint="beef")
        monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", lambda path, **options: other)
    with pytest.raises(IndexStateError, match=f"^[^\n]*{message}[^\n]*$"):
        make_index(model=tmp_path / "model", output=tmp_path / "i", **options)
    assert held(tmp_path / "i") == corpus(3)
    assert model.encoded == 3


def test_an_index_without_a_source_is_not_emptied(tmp_path, model):
    source = write(tmp_path / "a", corpus(3))
    made(source, tmp_path / "i")
    with open_index(tmp_path / "i") as first, open_index(tmp_path / "own", first.spec, "w") as index:
        index.upsert(build.passage_batch(first.get(["p1"]), model.encode_joint(["x"], "passage"), model))
        index.commit()
    with pytest.raises(IndexStateError, match="this index was not made from a source"):
        made(source, tmp_path / "own")
    assert list(held(tmp_path / "own")) == ["p1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": None}, "--model: needed to encode a collection"),
        ({"chunk_overlap": 2}, "needs --chunk-words"),
        ({"tokens": "int9"}, "tokens: Input should be"),
        ({"dense": "int4"}, "dense: Input should be"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"part": (1, 2)}, "of an index that has one writer"),
        ({"part": (1, 2), "output": "qdrant+http://host:1/x"}, "loaders share shards"),
        ({"output": "qdrant+http://host:1/x"}, "say where the encoded shards go"),
    ],
)
def test_impossible_options_are_refused_first(tmp_path, model, options, message):
    source = write(tmp_path / "a", corpus(3))
    arguments = {"source": source, "model": tmp_path / "model", "output": tmp_path / "i", **options}
    error = IndexStateError if "say where" in message else SettingsError
    with pytest.raises(error, match=message):
        make_index(**arguments)
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    assert model.encoded == 0


def test_bad_input_leaves_nothing_behind(tmp_path, model):
    source = write(tmp_path / "a", corpus(3))
    with open(tmp_path / "a" / "corpus.jsonl", "a", encoding="utf-8") as handle:
        handle.write("{broken\n")
    with pytest.raises(DataError, match=r"corpus\.jsonl:4"):
        made(source, tmp_path / "i")
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_in_memory(tmp_path, model, monkeypatch):
    source = write(tmp_path / "crops", corpus(10))
    (tmp_path / "model").mkdir()
    built = make_index(source, tmp_path / "model", "memory://")
    assert counts(built) == (10, 10, 0, 0, 0)
    assert built.index.model_folder == tmp_path / "model"
    assert Searcher.open(built.index).search("word3", 1, mode="hybrid")[0].id == "p3"
    on_disk = ernie_search.build_index(source, tmp_path / "model", tmp_path / "i")
    with on_disk:
        assert on_disk.mode == "r"
        assert [hit.id for hit in Searcher.open(on_disk).search("word3", 5)] == [
            hit.id for hit in Searcher.open(built.index).search("word3", 5)
        ]


def test_progress_and_what_to_expect(tmp_path, model):
    source = write(tmp_path / "crops", corpus(10))
    encoded, stored, expected = [], [], []
    hooks = {"progress": encoded.append, "storing": stored.append, "expect": expected.append}
    made(source, tmp_path / "i", **hooks)
    assert (sum(encoded), sum(stored), expected) == (10, 10, [10])
    write(tmp_path / "crops", corpus(12))
    made(source, tmp_path / "i", **hooks)
    assert (sum(encoded), sum(stored), expected) == (12, 12, [10, 2])


@pytest.mark.parametrize(
    ("source", "noted"),
    [
        ("crops", "../crops"),
        ("beir:crops", "../crops"),
        ("csv:crops?titles=none", "csv:../crops?titles=none"),
        ("api:numpy,scipy", "api:numpy,scipy"),
        ("hf:some/where", "hf:some/where"),
    ],
)
def test_a_path_is_noted_as_seen_from_the_index(tmp_path, monkeypatch, source, noted):
    (tmp_path / "crops").mkdir()
    monkeypatch.chdir(tmp_path)
    assert noted_source(source, tmp_path / "i") == noted.replace("/", os.sep)


def test_passages_of_an_8_bit_graph_are_kept_and_noted(tmp_path, model, monkeypatch):
    encoder = StubEncoder()
    encoder.precision = "int8"
    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", lambda path, **options: encoder)
    with make_index(write(tmp_path / "a", corpus(3)), tmp_path / "model", tmp_path / "i").index as index:
        assert (len(index), index.spec.passages_in) == (3, "int8")


def test_what_is_not_named_stays_as_the_index_was_made(tmp_path, model):
    first = {"tokens": "int8", "dense": "int8", "ann": "none", "exact_below": 7}
    source, place = write(tmp_path / "a", corpus(6)), tmp_path / "i"
    with make_index(
        source, tmp_path / "model", place, chunk_words=1, chunk_overlap=0, **first
    ).index as index:
        made = index.spec
        assert len(index) > 6  # cut
    write(tmp_path / "a", corpus(7))
    with make_index(source, tmp_path / "model", place).index as index:
        assert index.spec == made
        assert len(index) > 7
    with pytest.raises(IndexStateError, match="made with tokens='int8', not 'fp16'"):
        make_index(source, tmp_path / "model", place, tokens="fp16")
    with pytest.raises(IndexStateError, match="made with precision='fp32', not 'int8'"):
        make_index(source, tmp_path / "model", place, precision="int8")


def test_an_8_bit_index_is_kept_in_8_bits(tmp_path, model, monkeypatch):
    asked = []

    def opened(path, precision="fp32", **options):
        asked.append(precision)
        encoder = StubEncoder()
        encoder.precision = precision
        return encoder

    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", opened)
    source = write(tmp_path / "a", corpus(3))
    make_index(source, tmp_path / "model", tmp_path / "i", precision="int8").index.close()
    write(tmp_path / "a", corpus(4))
    make_index(source, tmp_path / "model", tmp_path / "i").index.close()
    add_to_index(write(tmp_path / "b", corpus(6, first=5)), tmp_path / "i", tmp_path / "model")
    assert asked == ["int8"] * 3
    with pytest.raises(IndexStateError, match="made with precision='int8', not 'fp32'"):
        add_to_index(tmp_path / "b", tmp_path / "i", tmp_path / "model", precision="fp32")


def test_an_index_of_before_knows_no_cut():
    origin = read_record(Origin, {"source": "a", "data": "d", "state": "complete"})
    assert origin == Origin("a", "d", "complete", "")
