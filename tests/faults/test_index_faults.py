"""Kills, flipped bytes, a full disk, two writers, readers beside one: the index on disk loses nothing."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kill_rounds import kill_rounds

from ernie_search._util.files import fingerprint
from ernie_search.errors import IndexStateError, SettingsError, StorageError
from ernie_search.index import Eq, lance, lance_files, make_spec, open_index, verify
from ernie_search.index.lance_files import INDEX_FILE, read_commit
from ernie_search.index.lance_reader import lance_errors
from index_helpers import MODEL, batch, new_index, passage, spec

PASSAGES = [passage(number) for number in range(40)]


def filled(folder: Path, **changes):
    store = new_index("lance", folder, **changes)
    store.upsert(batch(PASSAGES[:30]))
    store.commit()
    return store


def what_verify_says(folder: Path) -> str:
    try:
        damaged = open_index(folder, check=False)
    except IndexStateError as error:  # so broken that it cannot even be opened
        return str(error)
    try:
        return verify(damaged).problems[0]
    finally:
        damaged.close()


def question():
    return MODEL.encode_joint(["word3 common"], "query").dense


def test_three_rounds_of_kill(tmp_path):
    assert kill_rounds(tmp_path / "store", 3, seed=1) == 4


def test_a_kill_between_cleaning_up_and_its_commit_leaves_the_commit_before(tmp_path, monkeypatch):
    store = filled(tmp_path / "s")
    store.upsert(batch([passage(50)]))
    own, calls = store.table.optimize, []

    def leaves_work(**options):  # the first merge leaves something to merge
        calls.append(options["cleanup_older_than"] == lance.NEVER)
        if len(calls) > 1:
            own(**options)

    def killed(*, pruning):
        if not pruning:
            raise KeyboardInterrupt
        commit(pruning=pruning)

    store.commit()
    commit = store.make_commit
    monkeypatch.setattr(store.table, "optimize", leaves_work)
    monkeypatch.setattr(store, "make_commit", killed)
    with pytest.raises(KeyboardInterrupt):
        store.optimize()
    assert calls[:2] == [True, True]  # merged again before anything was removed
    assert not calls[-1]
    store.close()
    with open_index(tmp_path / "s") as reader:
        assert len(reader) == 31


@pytest.mark.parametrize("ended", range(4))
def test_between_the_steps_of_optimize_the_index_is_written_and_ends(tmp_path, ended):
    store = filled(tmp_path / "s", exact_below=256, ann="ivf_sq", partitions=2)
    store.upsert(batch([passage(number) for number in range(30, 300)]))
    for number, _ in enumerate(store.optimizing()):
        store.upsert(batch([passage(400 + number), passage(7, f"changed {number} common")]))
        store.delete([f"p{number:03}"])
        store.commit()
        if number == ended:
            break
    left = set(store.nearest(question(), 400)[0].ids)
    store.close()
    with open_index(tmp_path / "s", mode="w") as again:
        assert verify(again, MODEL).problems == []
        assert set(again.nearest(question(), 400)[0].ids) == left
        again.optimize()
        assert verify(again, MODEL).problems == []


def test_tokens_are_counted_without_reading_what_was_counted(tmp_path, monkeypatch):
    store = filled(tmp_path / "s")
    own, scans = store.scan, []

    def noted(columns, where=None):
        if columns == ["token_count"]:
            scans.append(columns)
        return own(columns, where)

    def counted() -> int:
        scans.clear()
        store.commit()
        seen = len(scans)
        assert store.commit_read.tokens == store.stats().tokens
        return seen

    monkeypatch.setattr(store, "scan", noted)
    store.upsert(batch([passage(50)]))
    assert counted() == 0
    store.upsert(batch([passage(50, "another text that is longer")]))
    assert counted() == 1
    store.delete(["p001"])
    assert counted() == 1
    monkeypatch.setattr(store.table, "add", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.upsert(batch([passage(51)]))
    monkeypatch.undo()
    monkeypatch.setattr(store, "scan", noted)
    store.upsert(batch([passage(52)]))
    assert counted() == 1
    store.close()


def test_a_reader_keeps_its_files_however_long_the_commit_took(tmp_path, monkeypatch):
    store = filled(tmp_path / "s")
    own = lance_files.checksums
    monkeypatch.setattr(lance, "MARGIN_S", 0.1)

    def slow(*found):
        time.sleep(0.5)
        return own(*found)

    monkeypatch.setattr(lance_files, "checksums", slow)
    store.upsert(batch([passage(50)]))
    store.optimize()
    monkeypatch.setattr(lance_files, "checksums", own)
    with open_index(tmp_path / "s") as reader:
        store.delete([f"p{number:03}" for number in [*range(30), 50]])  # whole files: of no use to the writer
        store.upsert(batch([replace(one, text="another text") for one in PASSAGES[:30]]))
        store.optimize()
        assert len(reader.nearest(question(), 40)[0].ids) == 31
        assert reader.bm25(["common"], 40)[0].ids
        assert reader.fetch(["p001"], ["text"])["text"].to_pylist() == [PASSAGES[1].text]
    store.close()


def test_a_commit_that_goes_while_it_is_read_is_looked_up_again(tmp_path, monkeypatch):
    store = filled(tmp_path / "s")
    folder, old = tmp_path / "s", read_commit(tmp_path / "s")
    own, done = lance_files.commit_path, []

    def commits_meanwhile(where, number):
        if number == old.number and not done:
            done.append(number)
            store.upsert(batch([passage(50)]))
            store.optimize()
            assert not own(where, number).exists()
        return own(where, number)

    monkeypatch.setattr(lance_files, "commit_path", commits_meanwhile)
    assert read_commit(folder).number > old.number
    store.close()


def test_a_writer_that_opens_its_table_anew_goes_on_as_before(tmp_path, monkeypatch):
    monkeypatch.setattr(lance, "COMMITS_HELD", 2)
    store = filled(tmp_path / "s")
    tables = {id(store.table): store.table}
    for number in range(40, 44):
        store.upsert(batch([passage(number)]))
        store.delete([f"p{number - 40:03}"])
        store.commit()
        tables[id(store.table)] = store.table
        assert len(store) == 30
        assert f"p{number:03}" in store.nearest(question(), 40)[0].ids
    assert len(tables) > 1
    store.optimize()
    left = store.nearest(question(), 40)[0].ids
    store.close()
    with open_index(tmp_path / "s") as again:
        assert again.nearest(question(), 40)[0].ids == left
        assert set(left) == {f"p{number:03}" for number in (*range(4, 30), *range(40, 44))}


def test_it_is_there_after_reopening(tmp_path):
    store = filled(tmp_path / "s")
    store.delete(["p003"])
    store.commit()
    expected = store.nearest(question(), 40)[0].ids
    store.close()
    again = open_index(tmp_path / "s")
    assert len(again) == 29
    assert again.nearest(question(), 40)[0].ids == expected
    assert again.spec == spec()
    with pytest.raises(SettingsError, match='mode "w"'):
        again.delete(["p001"])
    again.close()
    with pytest.raises(IndexStateError, match="closed"):
        again.nearest(question(), 1)


def test_what_was_not_committed_is_gone(tmp_path):
    store = filled(tmp_path / "s")
    store.upsert(batch(PASSAGES[30:]))
    store.delete(["p001"])
    assert len(store) == 39
    store.close()
    again = open_index(tmp_path / "s", mode="w")
    assert len(again) == 30
    named = {tmp_path / "s" / name for name in read_commit(tmp_path / "s").files}
    there = {path for path in (tmp_path / "s" / "passages.lance").rglob("*") if path.is_file()}
    assert there | set((tmp_path / "s").glob("statistics-*.bin")) == named
    again.close()


def test_a_flipped_byte_anywhere_is_named_and_refused(tmp_path):
    store = filled(tmp_path / "s")
    store.delete(["p002"])
    store.optimize()
    store.close()
    files = [path for path in (tmp_path / "s").rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) > 6
    for path in files:
        whole = path.read_bytes()
        for place in {0, len(whole) // 2, len(whole) - 1}:
            broken = bytearray(whole)
            broken[place] ^= 1
            path.write_bytes(broken)
            with pytest.raises(IndexStateError, match=path.name):
                open_index(tmp_path / "s")
            assert path.name in what_verify_says(tmp_path / "s")
        path.write_bytes(whole)
    sound = open_index(tmp_path / "s")
    assert verify(sound, MODEL).problems == []
    sound.close()


@pytest.mark.parametrize("check", [True, False])
def test_a_version_file_is_compared_before_lancedb_reads_it(tmp_path, check, capfd):
    """LanceDB's Rust code panics on a byte too many there, with pages on stderr."""
    filled(tmp_path / "s").close()
    versions = sorted((tmp_path / "s" / "passages.lance" / "_versions").iterdir())
    for version in versions if check else versions[:1]:  # the newest
        whole = version.read_bytes()
        for broken in (whole + b"x", whole[:-1], b""):
            version.write_bytes(broken)
            for mode in ("r", "w"):
                with pytest.raises(IndexStateError, match=f"{version.name}: holds {len(broken)} bytes"):
                    open_index(tmp_path / "s", mode=mode, check=check)
        version.write_bytes(whole)
    assert capfd.readouterr().err == ""


def test_what_is_said_of_an_index_is_compared_before_lancedb_reads_it(tmp_path, capfd):
    """It warns of damage there on stderr, with places in its own source, and goes on."""
    filled(tmp_path / "s").close()
    (path,) = (tmp_path / "s" / "passages.lance" / "_indices").glob("*/metadata.lance")
    whole = path.read_bytes()
    for broken in (None, b"", whole[:-1] + b"x"):
        path.unlink()
        if broken is not None:
            path.write_bytes(broken)
        for mode in ("r", "w"):
            with pytest.raises(IndexStateError, match=re.escape(f"{path}: ")):
                open_index(tmp_path / "s", mode=mode, check=False)
        path.write_bytes(whole)
    assert capfd.readouterr().err == ""


def test_a_panic_of_lancedb_is_one_line(tmp_path):
    panic = type("PanicException", (BaseException,), {})
    with (
        pytest.raises(
            IndexStateError, match=r"could not continue \(range end\); run: ernie-search index verify"
        ),
        lance_errors(tmp_path),
    ):
        raise panic("range end\nof a slice")
    with pytest.raises(KeyboardInterrupt), lance_errors(tmp_path):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "name", ["index.json", "writer.lock", "codec.npz", "projection.npz", "commits", "passages.lance"]
)
def test_a_folder_where_a_file_belongs_is_one_line_and_the_other_way_round(tmp_path, name):
    filled(tmp_path / "s").close()
    path = tmp_path / "s" / name
    wrong = "is a file, where a folder belongs" if path.is_dir() else "is a folder, where a file belongs"
    if path.exists():
        path.rename(tmp_path / "kept")
    if "file, where" in wrong:
        path.write_text("x")
    else:
        path.mkdir()
    for mode in ("r", "w"):
        for check in (True, False):
            with pytest.raises(IndexStateError, match=f"{name}: {wrong}"):
                open_index(tmp_path / "s", mode=mode, check=check)
    (tmp_path / "s" / "index.json").rename(tmp_path / "gone")  # what is left looks like a new store's
    if name != "index.json":
        with pytest.raises(IndexStateError, match=f"{name}: {wrong}"):
            open_index(tmp_path / "s", spec(), "w")


def test_folders_among_the_files_of_an_index_are_named_or_left_alone(tmp_path):
    filled(tmp_path / "s").close()
    for name in (".index.json.1.tmp", "commits/00000099.json", "commits/.x.tmp"):
        (tmp_path / "s" / name).mkdir()
    with open_index(tmp_path / "s", mode="w") as store:
        store.upsert(batch(PASSAGES[30:]))
        store.commit()
        assert len(store) == 40
    data = next((tmp_path / "s" / "passages.lance" / "data").iterdir())
    data.unlink()
    data.mkdir()
    with pytest.raises(IndexStateError, match=data.name):
        open_index(tmp_path / "s")
    assert data.name in what_verify_says(tmp_path / "s")


@pytest.mark.parametrize(
    "change",
    [{"commit": "x"}, {"commit": None}, {"commit": []}, {"sha256": 5}, {"commit": 10**30}, {"format": []}],
)
def test_a_pointer_with_a_value_of_another_type_is_one_line(tmp_path, change):
    """Whole by its own checksum, so nobody damaged it: somebody wrote it."""
    filled(tmp_path / "s").close()
    pointer = tmp_path / "s" / INDEX_FILE
    value = json.loads(pointer.read_text()) | change
    value.pop("check")
    text = json.dumps(value | {"check": fingerprint(value)}, indent=1, sort_keys=True) + "\n"
    pointer.write_text(text)
    with pytest.raises(IndexStateError, match=r"^[^\n]*(index\.json|commits/)[^\n]*$"):
        open_index(tmp_path / "s")


def test_an_index_of_an_older_format_says_what_to_do(tmp_path):
    filled(tmp_path / "s").close()
    pointer = tmp_path / "s" / INDEX_FILE
    pointer.write_text(
        json.dumps(json.loads(pointer.read_text()) | {"format": 1}, indent=1, sort_keys=True) + "\n"
    )
    with pytest.raises(IndexStateError, match="format 1, this version reads 2; make the index again"):
        open_index(tmp_path / "s")


def test_a_missing_file_is_named(tmp_path):
    filled(tmp_path / "s").close()
    data = next((tmp_path / "s" / "passages.lance" / "data").iterdir())
    data.unlink()
    with pytest.raises(IndexStateError, match=f"{data.name}: this file is missing"):
        open_index(tmp_path / "s")


def test_a_file_overwritten_under_an_open_index_is_noticed(tmp_path):
    store = filled(tmp_path / "s")
    store.close()
    reader = open_index(tmp_path / "s")
    path = next((tmp_path / "s" / "passages.lance" / "data").iterdir())
    broken = bytearray(path.read_bytes())
    broken[200] ^= 255
    path.write_bytes(broken)
    with pytest.raises(IndexStateError, match=f"{path.name}: was overwritten"):
        reader.nearest(question(), 3)
    reader.close()


def test_a_second_writer_is_refused(tmp_path):
    store = filled(tmp_path / "s")
    with pytest.raises(IndexStateError, match="another process is writing"):
        open_index(tmp_path / "s", mode="w")
    store.close()
    open_index(tmp_path / "s", mode="w").close()


SEARCHING = """
import sys
from ernie_search.index import open_index
from index_helpers import MODEL
store = open_index(sys.argv[1])
def seen():
    query = MODEL.encode_joint(["word3 common"], "query").dense
    dense, words = store.nearest(query, 50)[0], store.bm25(["common"], 50)[0]
    return dense.ids, dense.scores.tolist(), words.ids, len(store.fetch_tokens(dense.ids).values)
first, rounds = seen(), 0
print(len(first[0]), flush=True)
for line in sys.stdin:
    rounds += 1
    assert seen() == first, "the reader was disturbed"
    print(rounds, flush=True)
"""


def test_several_readers_search_on_while_a_writer_works(tmp_path):
    """Each reader gets the lists of the commit that it opened, whatever is committed and removed since."""
    store = filled(tmp_path / "s")
    command = [sys.executable, "-c", SEARCHING, str(tmp_path / "s")]
    readers, pipe = [], subprocess.PIPE
    places = os.pathsep.join(sys.path)
    for number, expected in enumerate((30, 36, 30)):
        readers.append(
            subprocess.Popen(
                command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, "PYTHONPATH": places}
            )
        )
        assert readers[-1].stdout.readline().strip() == str(expected)
        if number == 0:
            store.upsert(batch(PASSAGES[30:36]))
        elif number == 1:
            store.delete([f"p{one:03}" for one in range(6)])
        store.optimize()
    for done in range(1, 4):
        store.upsert(batch([passage(100 + done), passage(7, f"changed {done} common")]))
        store.optimize()
        for reader in readers:
            reader.stdin.write("\n")
            reader.stdin.flush()
        assert [reader.stdout.readline().strip() for reader in readers] == [str(done)] * 3
    for reader in readers:
        reader.communicate()
        assert reader.returncode == 0
    store.optimize()
    assert verify(store, MODEL).problems == []
    assert len(store) == 33
    store.close()


READER = """
import sys
from ernie_search.index import open_index
store = open_index(sys.argv[1])
print(len(store), flush=True)
sys.stdin.readline()
print(len(store), len(store.get(["p000", "p029"])), len(list(store.scan(["dense", "tokens"]))), flush=True)
"""


def test_a_reader_process_goes_on_undisturbed(tmp_path):
    store = filled(tmp_path / "s")
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", READER, str(tmp_path / "s")]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as reader:
        assert reader.stdout.readline().strip() == "30"
        store.delete(where=Eq("lang", "en"))
        store.upsert(batch(PASSAGES[30:]))
        store.optimize()
        with open_index(tmp_path / "s") as now:
            assert len(now) == 30
        held = len(list((tmp_path / "s" / "passages.lance" / "data").iterdir()))
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline().split()[:2] == ["30", "2"]
    assert reader.returncode == 0
    store.optimize()  # nobody holds the old version now
    assert len(list((tmp_path / "s" / "passages.lance" / "data").iterdir())) < held
    assert verify(store).problems == []
    store.close()


def test_a_reader_sees_whole_commits_only(tmp_path):
    store = filled(tmp_path / "s")
    store.upsert(batch(PASSAGES[30:]))
    between = open_index(tmp_path / "s")
    assert len(between) == 30
    store.commit()
    assert len(between) == 30
    after = open_index(tmp_path / "s")
    assert len(after) == 40
    for one in (between, after, store):
        one.close()


def test_a_killed_prune_is_finished(tmp_path, monkeypatch):
    store = filled(tmp_path / "s")
    store.delete(["p001"])
    monkeypatch.setattr(lance.LanceIndex, "_remove_unneeded", lambda store: None)
    store.optimize()
    store.close()
    assert read_commit(tmp_path / "s").pruning
    monkeypatch.undo()
    # As far as the killed one got: a file of an older version is gone.
    reader = open_index(tmp_path / "s")
    assert len(reader) == 29
    reader.close()
    again = open_index(tmp_path / "s", mode="w")
    assert not read_commit(tmp_path / "s").pruning
    assert verify(again).problems == []
    again.close()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.txt").write_text("mine")
    with pytest.raises(IndexStateError, match=r"holds 'thesis\.txt'"):
        open_index(tmp_path / "s", spec(), "w")
    with pytest.raises(IndexStateError, match="so not an index"):
        open_index(tmp_path / "s")
    with pytest.raises(SettingsError, match="no index there"):
        open_index(tmp_path / "nowhere", spec())


def test_another_spec_is_refused(tmp_path):
    filled(tmp_path / "s").close()
    with pytest.raises(IndexStateError, match=r"made by model stub \(f00d\), not other \(beef\)"):
        open_index(tmp_path / "s", spec(model_name="other", model_fingerprint="beef"), "w")
    with pytest.raises(IndexStateError, match="made with tokens='fp16', not 'int8'"):
        open_index(tmp_path / "s", spec(tokens="int8"), "w")
    open_index(tmp_path / "s", spec(model_path="elsewhere"), "w").close()


def test_a_full_disk_loses_nothing(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("a small file system is mounted for this, which only root may do")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        store = filled(small / "s")
        big = make_spec(**(spec().model_dump()))
        assert big == store.spec
        long = [passage(number, "w" * 30_000 + str(number)) for number in range(100, 300)]
        with pytest.raises(StorageError, match="disk is full"):
            for _ in range(20):
                store.upsert(batch(long))
                store.commit()
        before = read_commit(small / "s").passages
        store.close()
        again = open_index(small / "s", mode="w")
        assert len(again) == before
        assert verify(again, MODEL).problems == []
        again.close()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_large_index_searches_approximately_and_says_so(tmp_path):
    store = new_index("lance", tmp_path / "s", exact_below=256, ann="ivf_sq", partitions=2, probes=2)
    many = [passage(number) for number in range(300)]
    store.upsert(batch(many))
    store.commit()
    assert store.stats().search == "exact"  # until it is optimized
    (streamed,) = store.nearest(question(), 10)
    store.optimize()
    stats = store.stats()
    assert (stats.search, stats.unindexed) == ("IvfSq", 0)
    (exact,) = store.nearest(question(), 10, exact=True)
    assert exact.ids == streamed.ids
    (found,) = store.nearest(question(), 10)
    assert len(set(found.ids) & set(exact.ids)) >= 9
    np.testing.assert_allclose(found.scores[:3], exact.scores[:3], atol=1e-4)
    (met,) = store.nearest(question(), 300, where=Eq("lang", "de"))
    assert {many[int(one[1:])].fields["lang"] for one in met.ids} == {"de"}
    store.upsert(batch([passage(300, "word3 common")]))
    store.commit()
    assert store.stats().unindexed == 1
    assert store.nearest(question(), 1)[0].ids == ["p300"]
    store.close()
    assert json.loads((tmp_path / "s" / INDEX_FILE).read_text())["format"] == lance_files.FORMAT
