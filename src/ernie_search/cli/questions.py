"""``ernie-search questions``: questions made from a collection's own passages, without labels."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ernie_search.cli.defaults import default_model
from ernie_search.cli.options import refuse_given
from ernie_search.cli.output import AsJson, console, loading, print_json, print_line, progress
from ernie_search.errors import IndexStateError

if TYPE_CHECKING:
    from ernie_search.adaptation.answers import Estimate, Generator
    from ernie_search.adaptation.filter import Search
    from ernie_search.adaptation.make import Made
    from ernie_search.adaptation.sample import Sample
    from ernie_search.adaptation.settings import QuestionSettings
    from ernie_search.data import Collection

EXAMPLE = "Example: ernie-search questions ./docs --output questions.jsonl"
SHOWN = 8
"""Questions that are shown in the end."""
CHECKED = 20
"""Drawn passages that are looked for in an index that was named."""

Prompt = Annotated[
    str | None, typer.Option(help="What it reads; {passage} stands for the text, {number} for how many.")
]
BaseUrl = Annotated[
    str | None,
    typer.Option(help="Of an OpenAI-compatible endpoint, up to /v1.", show_default="OPENAI_BASE_URL"),
]
PriceIn = Annotated[float | None, typer.Option(help="Of a million tokens that it reads.")]
PriceOut = Annotated[float | None, typer.Option(help="Of a million tokens that it writes.")]
LimitCost = Annotated[float | None, typer.Option(help="What it may cost; needs both prices.")]
LimitTokens = Annotated[
    int | None, typer.Option(help="Tokens, read and written, that it may take.", show_default="2000000")
]
Timeout = Annotated[float | None, typer.Option(help="Seconds for an answer.", show_default="60")]
"""Options of a model that writes questions, for every command that has one make them."""


def questions(
    source: Annotated[str, typer.Argument(help="A folder of documents, a BEIR folder, 'api:', ...")],
    output: Annotated[Path, typer.Option(help="A .jsonl file, or a folder for questions.jsonl.")] = Path(
        "questions.jsonl"
    ),
    number: Annotated[int, typer.Option(help="Questions at most, before the filter.")] = 10_000,
    per_passage: Annotated[int, typer.Option(help="Questions of each passage.")] = 4,
    kinds: Annotated[
        str, typer.Option(help="Made by rules to train on, in turns: span, cloze, keywords, title.")
    ] = "span,cloze,keywords,title",
    held_out: Annotated[
        float, typer.Option(help="Share of the passages whose questions only measure.")
    ] = 0.1,
    held_out_kind: Annotated[
        str, typer.Option(help="Kind of their questions, which is then not trained on.")
    ] = "keywords",
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    own: Annotated[
        Path | None, typer.Option(help='Your own, a JSONL file: {"text": ..., "passage": its id}.')
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            "--questions",
            metavar="hub:NAME|openai:MODEL",
            help="A model that writes those to train on: a seq2seq model, or an endpoint's chat model.",
        ),
    ] = None,
    prompt: Prompt = None,
    base_url: BaseUrl = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    limit_cost: LimitCost = None,
    limit_tokens: LimitTokens = None,
    timeout: Timeout = None,
    filtered: Annotated[
        bool,
        typer.Option("--filter/--no-filter", help="Drop questions that search does not find the passage of."),
    ] = True,
    depth: Annotated[
        int | None, typer.Option(help="First hits among which the passage must be.", show_default="20")
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(help="An index of SOURCE to search; by default one is made, and removed afterwards."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Makes that index.", show_default="the bundled base")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many would be made and what that takes, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make questions from passages, by rules or a model, and keep those that search can answer.

    The same command resumes after an interruption. The file can be read, edited and added to.
    """
    from ernie_search._util.settings import parse_typed
    from ernie_search.adaptation.generators import open_generator
    from ernie_search.adaptation.make import answers_of, is_finished, make_questions, place_of
    from ernie_search.adaptation.questions import read_questions
    from ernie_search.adaptation.settings import QuestionSettings
    from ernie_search.data import open_collection, validate
    from ernie_search.data.collection import hold

    settings = parse_typed(
        QuestionSettings,
        {
            "number": number,
            "per_passage": per_passage,
            "kinds": kinds,
            "held_out": held_out,
            "held_out_kind": held_out_kind,
            "seed": seed,
        }
        | ({} if depth is None else {"depth": depth}),
    )
    if not filtered:
        of_filter = {"--index": index, "--model": model, "--depth": depth}
        refuse_given(of_filter, ": of the filter; leave --no-filter out")
    endpoint = {
        "base_url": base_url,
        "price_in": price_in,
        "price_out": price_out,
        "limit_cost": limit_cost,
        "limit_tokens": limit_tokens,
        "timeout": timeout,
    }
    if generator is None:
        of_model = {f"--{name.replace('_', '-')}": value for name, value in endpoint.items()}
        refuse_given(
            of_model | {"--prompt": prompt}, ": of a model that writes questions; name one with --questions"
        )
    path = place_of(output)
    collection = hold(open_collection(source))
    validate(collection)
    mine = [] if own is None else read_questions(own)
    writer: Generator | None = None
    if generator is not None:
        with loading("the generator"):
            writer = open_generator(generator, cache=answers_of(path), prompt=prompt, say=_note, **endpoint)
    if dry_run or (writer is not None and not is_finished(path)):
        sample, estimate = _planned(collection, settings, writer, check=dry_run or not path.exists())
        if dry_run:
            _show_plan(path, sample, settings, estimate, filtered and index is None, as_json)
            return
    chosen = model if index is not None else model or default_model()
    identity = ""
    if filtered:
        identity = _identity_of_model(str(chosen)) if index is None else _identity_of_index(index)
    with progress("asking", settings.passages) as bar:
        made = make_questions(
            collection,
            path,
            settings,
            generator=writer,
            search=_Opener(source, index, chosen, settings, identity, bar) if filtered else None,
            own=mine,
            say=_note,
            making=bar,
            filtering=lambda done: bar.of("filtering")(done),
        )
    _show(source, made, as_json)


def _planned(
    collection: "Collection", settings: "QuestionSettings", writer: "Generator | None", check: bool
) -> "tuple[Sample, Estimate | None]":
    """The plan, with what the generator would take: said, and with ``check`` refused beyond its limits."""
    from ernie_search.adaptation.generators import check_estimate, said_estimate
    from ernie_search.adaptation.make import plan_questions

    sample, estimate = plan_questions(collection, settings, writer)
    if estimate is not None and writer is not None:
        _note(said_estimate(writer, estimate))
        if check:
            check_estimate(writer, estimate)
    return sample, estimate


@dataclass(frozen=True)
class _Opener:
    """Opens the search for the filter.

    Attributes:
        source: the collection.
        index: that is searched; None for one that is made for the filter.
        model: makes that one; of an index that was named, where its model is now.
        settings: of the questions.
        identity: see ``OpenSearch``.
        bar: shows how far it is.
    """

    source: str
    index: str | None
    model: str | None
    settings: "QuestionSettings"
    identity: str
    bar: Any

    @contextmanager
    def __call__(self, folder: Path) -> "Iterator[Search]":
        """See ``OpenSearch``."""
        from ernie_search.adaptation.filter import hybrid
        from ernie_search.api import build_index
        from ernie_search.search import Searcher

        with loading("the index and its model"):
            if self.index is None:
                found = build_index(
                    self.source, self.model, folder / "index", progress=self.bar.of("encoding")
                )
                searcher = Searcher.open(found, self.model)
            else:
                searcher = Searcher.open(self.index, self.model)
                _check_is_of(searcher, self.source, self.index, self.settings)
        try:
            self.bar.of("filtering")
            yield hybrid(searcher, self.settings.depth)
        finally:
            searcher.index.close()


def _identity_of_index(index: str) -> str:
    """What an index holds and how, wherever it lies."""
    from ernie_search._util.files import fingerprint
    from ernie_search.index import open_index

    with open_index(index, check=False) as found:
        spec = found.spec.model_dump(mode="json", exclude={"model_name", "model_path", "model_ref"})
        origin = found.origin
        held = origin.data if origin is not None and origin.state == "complete" else found.stats().commit
        return f"index {fingerprint(spec, held, len(found))}"


def _identity_of_model(model: str) -> str:
    """By which an index that is made for the filter is known: the rest of it follows from the collection."""
    from ernie_search.encoding.opening import open_encoder

    with loading("the model"):
        return f"model {open_encoder(model).fingerprint}"


def _check_is_of(searcher: Any, source: str, index: str, settings: "QuestionSettings") -> None:
    """Refuse an index that does not hold the passages, of which no question would be found."""
    from ernie_search.adaptation.sample import draw
    from ernie_search.data import open_collection

    if searcher.index.has_parents:  # of cut documents, whose pieces have other ids
        return
    drawn = draw(open_collection(source).passages(), CHECKED, settings.seed).passages
    try:
        searcher.index.get([one.id for one in drawn])
    except IndexStateError:
        raise IndexStateError(
            f"{index}: does not hold all passages of {source}; bring it up to date with: ernie-search index "
            f"{source} --output {index}, or leave --index out"
        ) from None


def _note(text: str) -> None:
    console(stderr=True).print(f"note: {text}", soft_wrap=True)


def _show_plan(
    path: Path,
    sample: "Sample",
    settings: "QuestionSettings",
    estimate: "Estimate | None",
    makes_index: bool,
    as_json: bool,
) -> None:
    from dataclasses import asdict

    from ernie_search.adaptation.make import too_few

    most = len(sample.passages) * settings.per_passage
    if as_json:
        plan = {"passages": sample.total, "drawn": len(sample.passages), "questions": most}
        asked = None if estimate is None else asdict(estimate)
        print_json({"output": str(path), **plan, "generator": asked, "makes_index": makes_index})
        return
    print_line(
        f"{path}: up to {most:,} questions of {len(sample.passages):,} passages, drawn from {sample.total:,}."
    )
    few = too_few(sample.total, settings.depth)
    if few:
        _note(few)
    if makes_index:
        print_line(f"For the filter an index of {sample.total:,} passages is made first; --index takes one.")


def _show(source: str, made: "Made", as_json: bool) -> None:
    if as_json:
        counts = {"edited": made.edited, "questions": len(made.questions), **made.counts}
        print_json({"output": str(made.path), **counts})
        return
    counts = made.counts
    if made.edited:
        _note(f"{made.path} was edited since it was made; it is left as it is")
    print_line(
        f"{made.path}: {len(made.questions):,} questions of {counts['drawn']:,} passages, "
        f"drawn from {counts['passages']:,}"
    )
    for name in ("made", "kept"):
        print_line(f"{sum(counts[name].values()):>9,}  {name}: {_by_kind(counts[name])}")
        if name == "made":
            for reason, by_kind in counts["dropped"].items():
                print_line(f"{sum(by_kind.values()):>9,}  dropped, {MEANING[reason]}: {_by_kind(by_kind)}")
    print_line(f"{counts['splits'].get('held-out', 0):>9,}  of these held out, only to measure with")
    if counts.get("generator_gave_none"):
        print_line(
            f"{counts['generator_gave_none']:>9,}  passages that the model wrote none of; rules wrote theirs"
        )
    if counts["without_questions"]:
        print_line(f"{counts['without_questions']:>9,}  passages gave none: too short to ask about")
    for one in _examples(made.questions):
        print_line(f"  {one.kind:<10}{one.text}")
    if made.is_left:
        why = counts["generator_gave_up"]
        _note(f"the model was asked no more ({why}); the same command asks about the passages that are left")


MEANING = {
    "dangling": "as their passage is gone",
    "repeated": "nearly the words of another",
    "ambiguous": "which other passages answer as well",
    "not found": "whose passage search does not find",
}


def _by_kind(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or "none"


def _examples(found: Sequence[Any]) -> list[Any]:
    """Some questions, of as many kinds and passages as there are."""
    by_kind: dict[str, list[Any]] = {}
    passages: set[str] = set()
    for one in found:
        of_kind = by_kind.setdefault(one.kind, [])
        if len(of_kind) < SHOWN and one.passage not in passages:
            of_kind.append(one)
            passages.add(one.passage)
    each = max(1, SHOWN // max(1, len(by_kind)))
    return [one for some in by_kind.values() for one in some[:each]]
