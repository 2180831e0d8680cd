"""CSV, TSV and JSON lines with named columns: passages and training rows."""

import gzip
import json
import re

import pytest

from ernie_search.data import find_problems, open_collection
from ernie_search.errors import DataError
from ernie_search.types import Passage


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def test_passages_of_a_csv(write):
    path = write(
        "docs.csv", 'doc_id,title,body,page\r\n1,Tea,"grown in\nAssam, India",3\r\n2,,"a ""b""",\r\n'
    )
    collection = open_collection(f"csv:{path}")
    assert list(collection.passages()) == [
        Passage("1", "grown in\nAssam, India", "Tea", {"page": "3"}),
        Passage("2", 'a "b"'),
    ]
    assert (collection.splits, collection.name) == ([], "docs")
    assert find_problems(collection) == []


def test_named_columns_and_made_up_ids(write):
    path = write("docs.csv", "\ufeffkey;inhalt\n1;Tee\n2;Kaffee\n")
    rows = list(open_collection(f"csv:{path}?text=inhalt").passages())
    assert [(row.text, row.fields) for row in rows] == [("Tee", {"key": "1"}), ("Kaffee", {"key": "2"})]
    assert rows == list(open_collection(f"csv:{path}?text=inhalt&delimiter=semicolon").passages())
    assert [row.id for row in open_collection(f"csv:{path}?text=inhalt&id=key").passages()] == ["1", "2"]


def test_training_rows(write):
    train = write("train.tsv", "query\tpositive\tnegative_1\tnegative_2\na?\tA\tB\tC\na?\tA2\tA\t\n")
    dev = write("dev.tsv.gz", "query\tpositive\nb?\tB\n")
    collection = open_collection(f"csv:{train},{dev}")
    ids = {passage.text: passage.id for passage in collection.passages()}
    assert list(ids) == ["A", "B", "C", "A2"]
    (question,) = collection.queries("train")
    # A stays relevant, though a later row has it among its negatives
    assert collection.qrels("train") == {question.id: {ids["A"]: 1, ids["A2"]: 1, ids["B"]: 0, ids["C"]: 0}}
    assert collection.splits == ["train", "dev"]
    assert find_problems(collection) == []


def test_rows_of_questions_and_answers(write):
    path = write("faq.csv", 'id,question,answer,topic\n1,Why?,Because.,x\n2,Who?,"Me, you",y\n')
    collection = open_collection(f"csv:{path}?split=test")
    assert [passage.text for passage in collection.passages()] == ["Because.", "Me, you"]
    assert collection.splits == ["test"]
    swapped = open_collection(f"csv:{path}?query=answer&positive=question")
    assert [passage.text for passage in swapped.passages()] == ["Why?", "Who?"]
    assert swapped.fingerprint != collection.fingerprint


@pytest.mark.parametrize("cell", ["[" * 100_000, "[tea"])
def test_answers_that_look_like_a_list_and_are_none_are_one_answer(write, cell):
    path = write("a.csv", f"query,positive,answers\nwho?,tea,{cell}\n")
    (question,) = open_collection(f"csv:{path}").queries("train")
    assert question.fields == {"answers": [cell]}


def test_json_lines_with_lists_and_objects(write):
    rows = [
        {"query": "a", "pos": ["A", "B"], "neg": ["C"], "answers": ["x"]},
        {"query": "b", "pos": [{"docid": 7, "title": "T", "text": "D"}], "neg": []},
    ]
    path = write("valid.jsonl", "\n".join(map(json.dumps, rows)))
    collection = open_collection(f"jsonl:{path}")
    assert [(p.id, p.title, p.text) for p in collection.passages()][3] == ("7", "T", "D")
    first, second = collection.queries("dev")
    assert first.fields == {"answers": ["x"]}
    assert sorted(collection.qrels("dev")[first.id].values()) == [0, 1, 1]
    assert collection.qrels("dev")[second.id] == {"7": 1}


def test_json_lines_of_passages(write):
    path = write("c.jsonl", '{"id": 1, "contents": "a", "metadata": {"year": 1999}, "u": null}\n')
    assert list(open_collection(f"jsonl:{path}").passages()) == [Passage("1", "a", "", {"year": 1999})]


@pytest.mark.parametrize(
    ("source", "content", "place", "message"),
    [
        ("csv:{}?text=boddy", "id,body\n1,a\n", ":1", "no column 'boddy'; did you mean 'body'?"),
        ("csv:{}", "id,txt\n1,a\n", ":1", "did you mean 'txt'?; say which it is with ?text=COLUMN"),
        ("csv:{}", "question,reply\n1,a\n", ":1", "no column 'positive'; known: question, reply"),
        ("csv:{}?positive=reply", "ask,reply\n1,a\n", ":1", "no column 'query'"),
        ("csv:{}", "text,text\n1,a\n", ":1", "two columns 'text'"),
        ("csv:{}", "", "", "empty; the first line names the columns"),
        ("csv:{}?delimiter=xx", "text\na\n", "", "give one character, or one of tab"),
        ("csv:{}?txt=a", "text\na\n", None, "no option 'txt'; did you mean 'text'?"),
        ("csv:{}?text=a&text=b", "text\na\n", None, "option 'text' twice"),
        ("csv:{}?text", "text\na\n", ":1", "no column ''"),
        ("csv:{}?query=q&positive=p&id=nosuch", "q,p,id\na,b,c\n", ":1", "no column 'nosuch'"),
        ("csv:{}?query=q&positive=p&id=id", "q,p,id\na,b,c\n", ":1", "training rows has no 'id'"),
        ("csv:{}?query=q&positive=p&text=p", "q,p\na,b\n", ":1", "training rows has no 'text'"),
        ("csv:{}?id=id", "query,answer,id\na,b,c\n", ":1", "for passages give ?text=COLUMN alone"),
        ("csv:{}?negative=zzz", "text\na\n", ":1", "no column 'zzz'; known: text"),
        ("csv:{}?negative=n", "text,n\na,b\n", ":1", "passages has no 'negative', only id, title, text"),
        ("csv:{}?text=n&answers=text", "text,n\na,b\n", ":1", "passages has no 'answers'"),
        ("csv:{}?negative=", "query,text\na,b\n", ":1", "no column ''"),
        ("csv:{}?negative=n,m", "query,text,n\na,b,c\n", ":1", "no column 'm'; known: n, query"),
        ("jsonl:{}", "\n", "", "empty"),
        ("jsonl:{}", '{"a": 1}\n', ":1", "no column 'text'; known: a"),
    ],
)
def test_faults_of_the_header(write, source, content, place, message):
    path = write("t.csv", content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        open_collection(source.format(path))
    if place is not None:
        assert str(caught.value).startswith(f"{path}{place}: ")


@pytest.mark.parametrize(
    ("name", "content", "line", "message"),
    [
        ("t.csv", "id,text\n1,a\n2,b,c\n", 3, "3 columns where the header has 2"),
        ("t.csv", 'id,text\n1,"a\nb"\n\n2,\n', 5, "empty 'text'"),
        ("t.csv", 'id,text\n1,a\n2,"b\n3,c\n', 3, "a quote that is never closed"),
        ("t.csv", 'id,text\n1,"a" b\n2,c\n', 2, "expected after"),
        ("t.csv", b"id,text\r\n1,a\r\n2,caf\xe9\r\n", 3, "not UTF-8 at byte 6"),
        ("t.csv", "id,text\n1,a\n1 2,b\n", 3, "white space in '_id'"),
        ("t.csv", "id,text\n1,a\n1,b\n", 3, "duplicate id '1'"),
        ("t.csv", "query,positive\na,A\n,B\n", 3, "empty 'query'"),
        ("t.csv", "query,positive\na,A\nb,\n", 3, "empty 'positive'"),
        ("t.jsonl", '{"text": "a"}\n{"txt": "b"}\n', 2, "no 'text'"),
        ("t.jsonl", '{"text": "a"}\n{"text": ["b"]}\n', 2, "'text' is a list"),
        ("t.jsonl", '{"text": "a"}\n{"text": "b", "title": 5}\n', 2, "'title' is a number"),
        ("t.jsonl", '{"query": "a", "pos": ["A"]}\n{"query": "a", "pos": [7.5]}\n', 2, "'pos' is a number"),
        ("t.jsonl", '{"text": "a"}\n{"text": "b"\n', 2, "broken JSON"),
    ],
)
def test_faults_of_rows(write, name, content, line, message):
    path = write(name, content)
    errors = [str(error) for error in find_problems(open_collection(f"{path.suffix[1:]}:{path}"))]
    assert errors[0].startswith(f"{path}:{line}: ")
    assert message in errors[0]
    assert len(errors) == 1


def test_utf16_and_a_cut_gz(write):
    with pytest.raises(DataError, match=r"t\.csv:1: UTF-16 text"):
        open_collection(f"csv:{write('t.csv', 'id,text'.encode('utf-16'))}")
    whole = "".join(f"{n},{n * 7919}\n" for n in range(20_000))
    path = write("t.csv.gz", f"id,text\n{whole}")
    path.write_bytes(path.read_bytes()[:-2000])
    assert re.search(
        r"t\.csv\.gz:\d{3,}: .*in the middle", str(find_problems(open_collection(f"csv:{path}"))[0])
    )


def test_tables_that_do_not_go_together(write, tmp_path):
    passages, rows = write("p.csv", "id,text\n1,a\n"), write("train.csv", "query,positive\na,b\n")
    for source, message in [
        (f"csv:{passages},{rows}", "passages are one table, by itself"),
        (f"csv:{rows},{rows}", "a second table of split 'train'"),
        (f"csv:{tmp_path}", "a folder; csv: reads files"),
        (str(passages), f"did you mean 'csv:{passages}'?"),
    ]:
        with pytest.raises(DataError, match=re.escape(message)):
            open_collection(source)
