"""Small files in the forms that the formats' authors publish, for the tests of several readers."""

import json
from pathlib import Path

CORPUS = [
    {"_id": "31715818", "title": "Tea", "text": "Tea is grown in Assam.", "metadata": {}},
    {"_id": "14717500", "title": "", "text": "Coffee came from Ethiopia.", "metadata": {"page": 3}},
    {"_id": "5", "title": "Only a title", "text": "", "metadata": {}},
]
QUERIES = [
    {"_id": "1", "text": "where does tea grow", "metadata": {}},
    {"_id": "3", "text": "where is coffee from", "metadata": {}},
]
JUDGED = {
    "train": [{"query-id": "1", "corpus-id": "31715818", "score": 1.0}],
    "test": [
        {"query-id": "3", "corpus-id": "14717500", "score": 2.0},
        {"query-id": "3", "corpus-id": "5", "score": 0.0},
    ],
}
CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: qrels/train.jsonl
  - split: test
    path: qrels/test.jsonl
- config_name: corpus
  data_files:
  - split: corpus
    path: corpus.jsonl
- config_name: queries
  data_files:
  - split: queries
    path: queries.jsonl
---
"""


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    """Rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def hub_triple(folder: Path) -> Path:
    """A retrieval set as it lies on the hub: three configs, declared in the card."""
    write_jsonl(folder / "corpus.jsonl", CORPUS)
    write_jsonl(folder / "queries.jsonl", QUERIES)
    for split, rows in JUDGED.items():
        write_jsonl(folder / "qrels" / f"{split}.jsonl", rows)
    (folder / "README.md").write_text(CARD)
    return folder


def context(identifier: str, text: str, title: str, key: str = "passage_id") -> dict:
    """A passage of DPR's training files."""
    return {"title": title, "text": text, "score": 1000, "title_score": 1, key: identifier}


DPR = [
    {
        "dataset": "nq_train_psgs_w100",
        "question": "who sings does he love me with reba",
        "answers": ["Linda Davis"],
        "positive_ctxs": [
            context("11828866", 'Does He Love You "Does He Love You" is a song', "Does He Love You")
        ],
        "negative_ctxs": [context("7", "Cormac McCarthy wrote it", "The Road")],
        "hard_negative_ctxs": [context("11828871", "Linda Davis was born", "Linda Davis", "psg_id")],
    },
    {
        "dataset": "nq_train_psgs_w100",
        "question": "how many pages is the book",
        "answers": ["241", "zwei hundert äöü"],
        "positive_ctxs": [context("7", "Cormac McCarthy wrote it", "The Road")],
        "negative_ctxs": [],
        "hard_negative_ctxs": [
            context("11828866", 'Does He Love You "Does He Love You" is a song', "Does He Love You")
        ],
    },
]
DPR_TSV = (
    "id\ttext\ttitle\n"
    '7\t"Cormac McCarthy wrote it"\t"The Road"\n'
    '11828866\t"Does He Love You ""Does He Love You"" is a song"\tDoes He Love You\n'
    "11828871\tLinda Davis was born\tLinda Davis\n"
)


def marco(folder: Path) -> Path:
    """MS MARCO's folder after unpacking."""
    folder.mkdir()
    files = {
        "collection.tsv": '0\tThe presence of "communication amid minds\n1\tTea is grown.\n2\tCoffee.\n',
        "queries.train.tsv": "121352\tdefine extreme\n634306\twhat does chattel mean\n",
        "queries.dev.tsv": "1048578\tcost of endless pools/swim spa\n7\twhat is tea\n",
        "queries.dev.small.tsv": "7\twhat is tea\n",
        "qrels.train.tsv": "121352\t0\t0\t1\n634306\t0\t2\t1\n",
        "qrels.dev.small.tsv": "7\t0\t1\t1\n",
        "qidpidtriples.train.full.2.tsv": "121352\t0\t1\n",
        "qidpidtriples.extra.tsv": "121352\t0\t1\n121352\t0\t2\n121352\t2\t1\n",
    }
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder
