"""DPR's files (Karpukhin et al. 2020): questions with contexts as one JSON array, and the passages as TSV."""

import ast
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ernie_search._util.files import did_you_mean
from ernie_search._util.lines import Placed, Report, parsed, stop
from ernie_search.data.examples import (
    Example,
    ExampleCollection,
    ReadExamples,
    make_passage,
    make_query,
    text_id,
)
from ernie_search.data.locator import files_fingerprint, parse_locator, parse_paths, split_of, stem_of
from ernie_search.data.readers import json_name, read_array, read_rows
from ernie_search.data.table import cell, passages_of
from ernie_search.errors import DataError
from ernie_search.types import Passage, Query

OPTIONS = ("negatives", "split")
HEADER = ("id", "text", "title")
"""Columns of psgs_w100.tsv; the text stands in quotes where it holds any."""
JSON_ENDINGS, TSV_ENDINGS = (".json", ".json.gz"), (".tsv", ".tsv.gz")
POSITIVES, HARD, RANDOM = "positive_ctxs", "hard_negative_ctxs", "negative_ctxs"


def contexts(row: Mapping[str, Any], name: str) -> tuple[Passage, ...]:
    """The passages of one of a question's lists, with DPR's own ids where they stand there."""
    value = row.get(name) or []
    if not isinstance(value, list):
        raise ValueError(f"{name!r} is {json_name(value)} where a list of passages belongs")
    return tuple(passages_of(value, name))


def parse_question(row: Mapping[str, Any], *, negatives: bool) -> Example:
    """An element of the array; ValueError says what is wrong.

    Args:
        negatives: whether hard negatives are judged irrelevant, or only stand in the corpus.
    """
    if POSITIVES not in row:
        raise ValueError(
            f"no {POSITIVES!r}{did_you_mean(POSITIVES, list(row))}; is this DPR's retriever data?"
        )
    answers = row.get("answers")
    query = make_query("", cell(row, "question"), {"answers": answers} if answers else None)
    hard, random = contexts(row, HARD), contexts(row, RANDOM)
    if negatives:
        return Example(query, contexts(row, POSITIVES), hard, random)
    return Example(query, contexts(row, POSITIVES), others=(*hard, *random))


def read_questions(path: Path, negatives: bool, report: Report = stop) -> Placed[Example]:
    """Each question of a file, with its place."""
    return read_array(path, partial(parse_question, negatives=negatives), report)


def read_passages(path: Path, report: Report = stop) -> Placed[Passage]:
    """Each passage of psgs_w100.tsv, with its place.

    Raises:
        DataError: another header, a row that has not three columns, an empty text.
    """
    rows = read_rows(path, "\t", report=report)
    where, names = next(rows, ("", list(HEADER)))
    lacking = [name for name in HEADER if name not in names]
    if lacking:
        hint = did_you_mean(lacking[0], names)
        raise DataError(f"{where}: no column {lacking[0]!r}{hint}; DPR's passages have id, text, title")
    order = [names.index(name) for name in HEADER]

    def passage(cells: list[str]) -> Passage:
        if len(cells) != len(names):
            raise ValueError(f"{len(cells)} columns where the header has {len(names)}; correct the row")
        identifier, text, title = (cells[place] for place in order)
        if not identifier.strip():
            raise ValueError("empty 'id'; fill it in or remove the line")
        return make_passage(identifier, text, title)

    yield from parsed(rows, passage, report)


def expand(paths: list[Path]) -> list[Path]:
    """The files themselves: of a folder, those that have one of DPR's endings."""
    files: list[Path] = []
    for path in paths:
        inside = [path] if path.is_file() else sorted(path.iterdir())
        files += [one for one in inside if one.name.endswith((*JSON_ENDINGS, *TSV_ENDINGS))]
    return files


def open_dpr(rest: str) -> ExampleCollection:
    """``dpr:FILE[,FILE...]``: question files (.json), the passages (.tsv), or a folder of both.

    With a passage file that is the corpus, and the questions' contexts have to be in it; without, the corpus
    is the contexts of all questions. A file's split is taken from its name (``nq-train.json``).

    Args:
        rest: what stands after ``dpr:``; options ``negatives`` (``hard`` are judged irrelevant, the default;
            ``none`` judges the positives alone) and ``split`` (of a single file).

    Raises:
        DataError: no such file, several passage files or several files of one split, an unknown option.
    """
    source = f"dpr:{rest}"
    place, options = parse_locator(source, rest, OPTIONS)
    kept = options.get("negatives", "hard")
    if kept not in ("hard", "none"):
        raise DataError(f"{source}: negatives is {kept!r}; give 'hard' or 'none'")
    files = expand(parse_paths(source, place))
    corpora = [path for path in files if path.name.endswith(TSV_ENDINGS)]
    if not files:
        raise DataError(f"{source}: no .json or .tsv file; name DPR's questions or passages")
    if len(corpora) > 1:
        raise DataError(f"{source}: both {corpora[0].name} and {corpora[1].name}; name one passage file")
    splits: dict[str, ReadExamples] = {}
    for path in files:
        if path in corpora:
            continue
        split = options.get("split") or split_of(stem_of(path))
        if split in splits:
            raise DataError(f"{path}: a second file of split {split!r}; name one file a split")
        splits[split] = partial(read_questions, path, kept == "hard")
    corpus = partial(read_passages, corpora[0]) if corpora else None
    return ExampleCollection(
        stem_of(files[0]), source, splits, lambda: files_fingerprint(files, "dpr", options), corpus
    )


def is_qas(path: Path) -> bool:
    """Whether the name is that of DPR's questions with answers (nq-test.qa.csv)."""
    return path.name.endswith((".csv", ".csv.gz"))


def answer_list(text: str) -> list[str]:
    """The answers of a cell: a list as Python or JSON writes it; ValueError says what is wrong with it."""
    value: Any = None
    for read in (ast.literal_eval, json.loads):  # DPR's own script calls eval, which would run anything
        try:
            value = read(text.strip())
            break
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    if not isinstance(value, list) or not value:
        raise ValueError(f"{text[:40]!r} is no list of answers, as ['1912', 'in 1912']; correct the line")
    if not all(isinstance(one, str) and one.strip() for one in value):
        raise ValueError("an answer is empty or no text; put each in quotes")
    return value


def read_qas(path: Path, report: Report = stop) -> Placed[Query]:
    """Each question of a file such as nq-test.qa.csv, with its place; its answers are the field ``answers``.

    The id is made of the text, so it is that of the same question in DPR's training files. A question that
    stands there twice counts twice, as in DPR: the second has ``-2`` after its id.

    Raises:
        DataError: a line without two columns, an empty question, what is no list of answers; an empty file.
    """
    seen: dict[str, int] = {}

    def question(cells: list[str]) -> Query:
        if len(cells) != 2:
            raise ValueError(f"{len(cells)} columns where question and answers belong, between a tab")
        identifier = text_id(cells[0])
        times = seen[identifier] = seen.get(identifier, 0) + 1
        answers = {"answers": answer_list(cells[1])}
        return make_query(identifier if times == 1 else f"{identifier}-{times}", cells[0], answers)

    yield from parsed(read_rows(path, "\t", report=report), question, report)
    if not seen:
        report(DataError(f"{path}: holds no question; a line is a question, a tab, ['answer', ...]"))
