"""The stage ``questions``: from a collection to a file of questions, resumed after a kill at any time."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ernie_search._util.files import (
    atomic_write,
    fingerprint,
    read_json,
    remove,
    remove_unfinished,
    sha256_file,
    storage_errors,
    write_json,
)
from ernie_search.adaptation.answers import Estimate, Generator
from ernie_search.adaptation.filter import (
    BLOCK,
    REASONS,
    Filtered,
    Search,
    Verdict,
    judged,
    keep,
    without_repeats,
)
from ernie_search.adaptation.questions import Question, known, read_questions, write_questions
from ernie_search.adaptation.rules import Rules
from ernie_search.adaptation.sample import Sample, draw
from ernie_search.adaptation.settings import QuestionSettings
from ernie_search.data import Collection
from ernie_search.errors import DataError, SettingsError
from ernie_search.types import Passage

QUESTIONS, PLAN = "questions.jsonl", "plan.json"
MADE_TOGETHER = 64
"""Passages of a part; a kill loses the questions of one at most."""
FEWEST_PASSAGES = 100
"""Below, there is too little to learn from and to measure with."""
FEWEST_HELD_OUT = 50
"""Held-out questions from which a difference can be told from chance at all."""

Say = Callable[[str], None]
GAVE_NONE = "generator_gave_none"
"""Count of passages whose questions are for training and which the generator wrote none of."""
NOTED_SINCE = frozenset({"search", "endpoint"})
"""What files of earlier versions do not note of how they were made; such a one is taken as it is."""


class OpenSearch(Protocol):
    """Opens a search over the collection; what it makes for that may lie in the folder given."""

    @property
    def identity(self) -> str:
        """What is searched and by which model; where this is another, other questions are kept."""
        ...

    def __call__(self, folder: Path) -> AbstractContextManager[Search]:
        """The search, until the block ends."""
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """Questions on disk.

    Attributes:
        path: their file.
        questions: what it holds, in the order of the draw: any first part is a uniform sample of the corpus.
        counts: what was made, dropped and kept, by kind and reason.
        edited: whether the file was changed since it was written; it is then left as it is.
    """

    path: Path
    questions: list[Question]
    counts: dict[str, Any] = field(default_factory=dict)
    edited: bool = False

    @property
    def is_left(self) -> bool:
        """Whether the generator gave up before its last passage: the same call then asks about the others."""
        return bool(self.counts.get("generator_gave_up")) and not self.edited


def place_of(output: Path) -> Path:
    """The file of questions that ``--output`` means: itself, or ``questions.jsonl`` of a folder."""
    return output if output.suffix == ".jsonl" else output / QUESTIONS


def manifest_of(path: Path) -> Path:
    """What the file of questions was made of, beside it."""
    return path.with_suffix(".manifest.json")


def answers_of(path: Path) -> Path:
    """An endpoint's answers, beside the file; they stay, so that other settings need not pay again."""
    return path.with_suffix(".answers.jsonl")


def parts_of(path: Path) -> Path:
    """Folder of what is not finished, beside the file."""
    return path.with_name(f"{path.name}.parts")


def too_few(passages: int, depth: int) -> str:
    """What is to be said of a collection with so few passages; empty where they are enough."""
    if passages >= FEWEST_PASSAGES:
        return ""
    least = f"{passages:,} passages are too few to learn from: take {FEWEST_PASSAGES} at least"
    if passages <= depth:
        return f"{least}; all are among the first {depth} hits, so no question is dropped as not found"
    return least


def is_finished(path: Path) -> bool:
    """Whether a file is there that the same call would only read."""
    if not path.exists():
        return False
    noted = read_json(manifest_of(path)) if manifest_of(path).is_file() else {"counts": {}}
    gave_up = noted["counts"].get("generator_gave_up")
    return not gave_up or noted["sha256"] != sha256_file(path)


def plan_questions(
    collection: Collection, settings: QuestionSettings, generator: Generator | None = None
) -> tuple[Sample, Estimate | None]:
    """What would be asked about, and what a generator would take for it; makes nothing."""
    sample = draw(collection.passages(), settings.passages, settings.seed)
    if generator is None:
        return sample, None
    rules = Rules(settings, sample.frequencies)
    asked = [one for one in sample.passages if rules.split_of(one) == "train"]
    return sample, generator.estimate(asked, settings.per_passage)


def make_questions(
    collection: Collection,
    path: Path,
    settings: QuestionSettings | None = None,
    *,
    generator: Generator | None = None,
    search: OpenSearch | None = None,
    own: Sequence[Question] = (),
    learnt: bool = True,
    say: Say | None = None,
    making: Callable[[int], None] | None = None,
    filtering: Callable[[int], None] | None = None,
) -> Made:
    """Make questions from a collection's passages, filter them, and write them; a finished file is only read.

    Killed at any time, the same call resumes: parts are written whole with fsync, and the file comes last.
    Where the generator gave up, the same call asks it about the passages that are left, and writes the file
    anew, unless that was edited, or the generator wrote nothing more.

    Args:
        collection: whose passages are asked about.
        path: the file.
        settings: which questions.
        generator: writes the questions for training; rules write where it does not (unless ``learnt`` is
            false), and the held-out ones.
        search: for the filter; None keeps all but repetitions.
        own: a person's questions, which come first and stay.
        learnt: whether rules make questions for training, too; else held-out ones alone.
        say: told what a user should know.
        making: called with the number of passages asked about since its last call.
        filtering: called with the number of questions searched since its last call.

    Raises:
        SettingsError: the file is there and was made otherwise; an unfinished one was begun otherwise.
        DataError: no passage gives a question.
        ErnieSearchError: what the collection, the generator and the search raise.
    """
    settings, say = settings or QuestionSettings(), say or (lambda text: None)
    asked: dict[str, Any] = {
        "data": collection.fingerprint,
        "settings": settings.model_dump(mode="json"),
        "generator": None if generator is None else [generator.name, generator.prompt],
        "filtered": search is not None,
        "own": fingerprint([one.as_json() for one in own]),
    }
    asked |= {} if learnt else {"learnt": False}
    asked |= {} if search is None else {"search": search.identity}
    asked |= {"endpoint": generator.address} if generator is not None and generator.address else {}
    before = _finished(path, asked)
    if before is not None and not before.is_left:
        remove(parts_of(path))
        return before
    parts = _begun(path, asked)
    sample = draw(collection.passages(), settings.passages, settings.seed)
    few = too_few(sample.total, settings.depth)
    if few:
        say(few)
    counts: dict[str, Any] = {"passages": sample.total, "drawn": len(sample.passages)}
    stage = _Stage(parts, settings, sample, say, learnt)
    made = stage.make(generator, making)
    if generator is not None:
        none = stage.to_learn_from - len({one.passage for one in made if one.kind == "generated"})
        if before is not None and generator.gave_up and none >= before.counts.get(GAVE_NONE, none + 1):
            remove(parts)
            return before
        counts |= {"generator_gave_up": generator.gave_up, GAVE_NONE: none}
        if generator.gave_up and learnt:
            say("rules make the questions that it did not write")
    about = stage.asked_about(generator)
    counts["without_questions"] = about - len({one.passage for one in made})
    if about:
        _check_any(made, own, sample, collection)
    there = _there(own, collection, say)
    counts["dangling"] = len(own) - len(there)
    found = Filtered()
    single = without_repeats([*there, *made], found)
    kept = stage.filter(single, search, found, filtering) if search is not None else single
    counts |= counts_of(made, there, kept, found)
    if before is not None:  # or a kill would leave a file that seems to be edited
        remove(manifest_of(path))
    write_questions(path, kept)
    write_json(manifest_of(path), {"asked": asked, "counts": counts, "sha256": sha256_file(path)})
    remove(parts)
    _say_few_held_out(kept, settings, say)
    return Made(path, kept, counts)


def counts_of(
    made: Sequence[Question], own: Sequence[Question], kept: Sequence[Question], found: Filtered
) -> dict[str, Any]:
    """Figures by kind: made, dropped for each reason, kept, and kept by what they are for."""
    return {
        "made": dict(sorted(Counter(one.kind for one in (*own, *made)).items())),
        "dropped": {
            reason: dict(sorted(found.dropped[reason].items())) for reason in REASONS if found.total(reason)
        },
        "kept": dict(sorted(Counter(one.kind for one in kept).items())),
        "splits": dict(sorted(Counter(one.split for one in kept).items())),
    }


@dataclass(frozen=True, slots=True)
class _Stage:
    """One call, and the folder of its parts."""

    parts: Path
    settings: QuestionSettings
    sample: Sample
    say: Say
    learnt: bool

    def asked_about(self, generator: Generator | None) -> int:
        """Passages that something is asked to make questions of."""
        if self.learnt or generator is not None:
            return len(self.sample.passages)
        return len(self.sample.passages) - self.to_learn_from

    @property
    def to_learn_from(self) -> int:
        """Passages whose questions are for training."""
        rules = Rules(self.settings, self.sample.frequencies)
        return sum(rules.split_of(one) == "train" for one in self.sample.passages)

    def make(self, generator: Generator | None, progress: Callable[[int], None] | None) -> list[Question]:
        """The questions of all drawn passages, part by part.

        Once the generator has given up no part is kept: a later call asks about its passages.
        """
        rules = Rules(self.settings, self.sample.frequencies)
        made: list[Question] = []
        for number, some in enumerate(_blocks(self.sample.passages, MADE_TOGETHER)):
            part = self.parts / f"made-{number:06}.jsonl"
            if part.exists():
                made += _read_part(part)
            else:
                questions = _asked(rules, some, generator, self.learnt)
                if generator is None or not generator.gave_up:
                    with atomic_write(part) as handle:
                        for one in questions:
                            handle.write(f"{json.dumps(asdict(one))}\n")
                made += questions
            if progress is not None:
                progress(len(some))
        return made

    def filter(
        self,
        questions: Sequence[Question],
        search: OpenSearch,
        found: Filtered,
        progress: Callable[[int], None] | None,
    ) -> list[Question]:
        """The questions whose passage is found; their verdicts are kept part by part."""
        blocks = list(_blocks(questions, BLOCK))
        verdicts = [self._read_verdicts(number, block) for number, block in enumerate(blocks)]
        if any(one is None for one in verdicts):
            with search(self.parts) as ask:
                for number, block in enumerate(blocks):
                    if verdicts[number] is None:
                        verdicts[number] = judged(block, ask)
                        rows = [[*verdict] for verdict in verdicts[number] or ()]
                        write_json(self._verdicts(number), {"of": _mark(block), "verdicts": rows})
                    if progress is not None:
                        progress(len(block))
        for block, some in zip(blocks, verdicts, strict=True):
            for question, verdict in zip(block, some or (), strict=True):
                keep(found, question, verdict)
                if question.kind == "own" and not verdict[0]:
                    self.say(
                        f"your question {question.id!r}: its passage {question.passage!r} is not among the "
                        f"first {self.settings.depth} hits; it stays"
                    )
        return found.kept

    def _verdicts(self, number: int) -> Path:
        return self.parts / f"judged-{number:06}.json"

    def _read_verdicts(self, number: int, block: Sequence[Question]) -> list[Verdict] | None:
        path = self._verdicts(number)
        if not path.exists():
            return None
        row = read_json(path)
        return [(rank, bad) for rank, bad in row["verdicts"]] if row["of"] == _mark(block) else None


def _asked(
    rules: Rules, passages: Sequence[Passage], generator: Generator | None, learnt: bool
) -> list[Question]:
    """Questions of some passages: a generator's for training where it gives any, else by rules.

    Rules make none for training unless they are to be learnt from.
    """
    written: dict[str, list[str]] = {}
    settings = rules.settings
    if generator is not None:
        train = [one for one in passages if rules.split_of(one) == "train"]
        answers = generator.ask(train, settings.per_passage, settings.seed)
        written = {one.id: texts for one, texts in zip(train, answers, strict=True)}
    found: list[Question] = []
    for passage in passages:
        texts = written.get(passage.id)
        if texts:
            found += [Question(text, passage.id, "generated", settings.seed) for text in texts]
        elif learnt or rules.split_of(passage) != "train":
            found += rules.ask(passage)
    return found


def _finished(path: Path, asked: dict[str, Any]) -> Made | None:
    """The questions of an earlier call, if it was the same."""
    if not path.exists():
        return None
    manifest = manifest_of(path)
    other = "name another --output, or remove it to make questions anew"
    if not manifest.is_file():
        if (parts_of(path) / PLAN).is_file():  # killed between the file and its manifest
            return None
        raise SettingsError(f"{path}: is there already, and was not made by this command; {other}")
    noted = read_json(manifest)
    before = noted.get("asked", {})
    names = _differing(before, asked)
    if names:
        raise SettingsError(f"{path}: was made otherwise (other: {names}); {other}")
    edited = noted["sha256"] != sha256_file(path)
    return Made(path, read_questions(path) if path.stat().st_size else [], noted["counts"], edited)


def _differing(before: dict[str, Any], asked: dict[str, Any]) -> str:
    """Names of what is asked otherwise than before; empty where nothing is."""
    compared = {**asked, **before}.keys() - (NOTED_SINCE - before.keys())
    return ", ".join(
        key for key in {**asked, **before} if key in compared and before.get(key) != asked.get(key)
    )


def _begun(path: Path, asked: dict[str, Any]) -> Path:
    """The folder of parts, of this call or of an interrupted one that was the same."""
    parts = parts_of(path)
    plan = parts / PLAN
    if plan.is_file():
        names = _differing(read_json(plan), asked)
        if names:
            raise SettingsError(
                f"{parts}: was begun with other settings or of another collection (other: {names}); give the "
                "same again, or remove the folder"
            )
        write_json(plan, asked)
        remove_unfinished(path)
        return parts
    with storage_errors(parts):
        parts.mkdir(parents=True, exist_ok=True)
    write_json(plan, asked)
    return parts


def _there(own: Sequence[Question], collection: Collection, say: Say) -> list[Question]:
    """A person's questions without those of passages that are not there, which are named."""
    if not own:
        return []
    named = {one.passage for one in own}
    there, dangling = known(own, {one.id for one in collection.passages() if one.id in named})
    if dangling:
        say(str(dangling))
    return there


def _check_any(made: Sequence[Question], own: Sequence[Question], sample: Sample, of: Collection) -> None:
    if not made and not own:
        raise DataError(
            f"{of.source}: no questions can be made of {len(sample.passages):,} passages: they are too short "
            "(5 words at least); cut the documents into longer ones"
        )


def _say_few_held_out(kept: Sequence[Question], settings: QuestionSettings, say: Say) -> None:
    held = sum(one.split == "held-out" for one in kept)
    if settings.held_out and held < FEWEST_HELD_OUT:
        say(
            f"{held:,} held-out questions are too few to tell a difference from chance: {FEWEST_HELD_OUT} at "
            "least; take more passages, or a larger --held-out"
        )


def _read_part(path: Path) -> list[Question]:
    return [Question(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _mark(block: Iterable[Question]) -> str:
    digest = hashlib.sha256()
    for one in block:
        digest.update(f"{one.id}\t{one.text}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()[:16]


def _blocks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
