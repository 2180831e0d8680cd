"""A source to an adapted model, or to the base: all stages in one folder; the same call resumes."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from operator import eq
from pathlib import Path
from typing import Any

from ernie_search._util.files import (
    atomic_directory,
    is_unfinished,
    read_json,
    remove_unfinished,
    write_json,
)
from ernie_search.adaptation.answers import Generator
from ernie_search.adaptation.check import VERDICT, Check, Checked, read_verdict
from ernie_search.adaptation.generators import SCHEMES, check_estimate, open_generator, said_estimate
from ernie_search.adaptation.make import plan_questions
from ernie_search.adaptation.plan import (
    PLAN_FILE,
    AdaptPlan,
    AdaptSettings,
    Labels,
    estimated,
    fitted,
    make_plan,
    measure_rates,
    parse_adapt,
)
from ernie_search.adaptation.questioned import DEV, LABELLED, TRAIN, QuestionedCollection
from ernie_search.adaptation.recipe import read_adapt_recipe
from ernie_search.adaptation.stages import (
    ANSWERS,
    Ask,
    AskSettings,
    Documents,
    DocumentSettings,
    Filter,
    FilterSettings,
    Learn,
    LearnSettings,
    Score,
    ScoreSettings,
    Step,
    own_questions,
)
from ernie_search.adaptation.verdict import Verdict
from ernie_search.data import Collection, open_collection
from ernie_search.data.collection import hold
from ernie_search.errors import DataError, SettingsError, StorageError, TrainingError
from ernie_search.pipeline.manifest import StageManifest
from ernie_search.pipeline.runner import perform, state_of
from ernie_search.pipeline.stage import InputPaths, Observer, Task
from ernie_search.runtime import default_model, resolve
from ernie_search.training.folder import model_identity, same_model
from ernie_search.training.joint import ignore_event
from ernie_search.training.world import World

MODEL = "model"
ORIGIN = "adapt.json"
"""In the model's folder: what it came from, and the verdict."""
BEGUN = "adapt.json"
"""In the output folder: what was asked for."""
FORMAT = 2


@dataclass(frozen=True, slots=True)
class Adapted:
    """How an adaptation ended.

    Attributes:
        model: directory of the model to index with: the adapted one, or the base.
        use: whether it is another model than the base.
        sentence: the verdict.
        verdict: with its figures.
        seconds: of all stages, over all calls.
        changed: whether the source has changed since it was read.
    """

    model: Path
    use: bool
    sentence: str
    verdict: Verdict
    seconds: float
    changed: bool = False

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        found = {"model": str(self.model), "use": self.use, "sentence": self.sentence}
        return found | {"seconds": self.seconds, "changed": self.changed, "verdict": asdict(self.verdict)}


def adapt(
    source: str | Path,
    output: str | Path,
    *,
    base: str | None = None,
    minutes: float | None = None,
    settings: Mapping[str, Any] | AdaptSettings | None = None,
    questions: str | Path | None = None,
    own: str | Path | None = None,
    endpoint: Mapping[str, Any] | None = None,
    recipe: str | Path | None = None,
    observer: Observer | None = None,
) -> Adapted:
    """Adapt a model to documents without labels, and say whether that helped; the same call resumes.

    Args:
        source: a folder of documents, a BEIR folder, ``api:``, ...; labelled questions of its splits
            ``train`` and ``dev`` are used, its split ``test`` is not read.
        output: the folder: ``model``, and a folder for each stage.
        base: hub name, directory, or the bundled base (the default).
        minutes: that it may take; it chooses the number of questions and steps by this machine's speed.
        settings: such as ``{"train.steps": 200, "labels": False}``.
        questions: who makes them: rules (None), ``hub:MODEL``, ``openai:MODEL``, or a file of questions,
            which are then all; where none of these is held out, those of some passages are.
        own: a file of a person's own questions, to which others are made.
        endpoint: options of ``openai:``; see :class:`~ernie_search.adaptation.endpoint.Endpoint`.
        recipe: a YAML file of settings, as the shipped ``adapt.yaml``; ``base`` and ``settings`` change it.
        observer: told of every event.

    Raises:
        SettingsError: a setting that does not fit, or too little time.
        TrainingError: the folder holds an adaptation of something else.
        DataError: nothing can be read.
        ErnieSearchError: whatever a stage refuses.

    Example:
        >>> import ernie_search
        >>> found = ernie_search.adapt("docs", "runs/adapted")
        >>> print(found.sentence, found.model)
    """
    folder = Path(output)
    asked: dict[str, Any] = {"questions": questions, "own": own, "endpoint": endpoint, "recipe": recipe}
    begun = begin(source, folder, base=base, minutes=minutes, settings=settings, **asked)
    steps = begun.steps()
    manifests: dict[str, StageManifest] = {}
    observe = observer or ignore_event
    for step in steps:
        task = Task(begun.collection, folder / step.name, InputPaths(begun.base), observe)
        manifests[step.name] = perform(step, task, begun.inputs(step, manifests))
    last = manifests["check"]
    verdict = read_verdict(folder / "check")
    _publish(last, verdict, folder)
    seconds = sum(one.seconds for one in manifests.values())
    changed = begun.collection.fingerprint != manifests["documents"].counts["source"]
    return Adapted(folder / MODEL, verdict.use, verdict.sentence, verdict, round(seconds, 2), changed)


@dataclass(frozen=True, slots=True)
class Begun:
    """An adaptation with its plan.

    Attributes:
        source, folder, base: as they were given.
        settings: of all stages.
        plan: how much of what.
        own: a person's questions, and whether they are all.
        generator: name of what makes questions in place of rules; "" for rules.
        endpoint: options of a generator.
        collection: the source, opened.
    """

    source: str
    folder: Path
    base: str
    settings: AdaptSettings
    plan: AdaptPlan
    own: tuple[Path | None, bool]
    generator: str
    endpoint: Mapping[str, Any]
    collection: Collection

    def steps(self) -> list[Step]:
        """The stages in their order."""
        settings, base = self.settings, self.base
        own, digest = own_questions(self.own[0])
        drawn = min(self.plan.passages, settings.questions.passages_of(self.plan.questions))
        number = {"number": self.plan.questions, "held_out": settings.questions.held_out_of(drawn)}
        brought = {"own": digest, "alone": self.own[1], "generator": self.generator}
        train = fitted(settings.train, self.plan.steps)
        learn = LearnSettings(
            base=base,
            train=train,
            token_weights=settings.token_weights,
            fit_lengths=settings.fit_lengths,
            labels=settings.labels,
            fewest_passages=settings.fewest_passages,
            fewest_questions=settings.fewest_questions,
        )
        length = max(settings.lists.length, 2)
        filtering = FilterSettings(base=base, depth=settings.questions.depth, length=length)
        checked = Checked(base=base, labels=settings.labels, **settings.checked.model_dump())
        score = ScoreSettings(labels=settings.labels, **settings.lists.model_dump())
        labels = {"labels": settings.labels, "labels_alone": settings.labels_alone}
        asked = AskSettings(**settings.questions.model_dump() | number | brought | labels)
        return [
            Documents("documents", DocumentSettings(source=self.source), self.folder),
            Ask("questions", asked, self.folder, own, self._generator()),
            Filter("filter", filtering, self.folder),
            Score("score", score, self.folder),
            Learn("adapt", learn, self.folder),
            Check("check", checked, self.folder),
        ]

    def asked_of_generator(self) -> str:
        """What a generator would take, in words; "" without one, or where the questions are made.

        Raises:
            SettingsError: it has no such name, no key, or would break its limit.
        """
        if not self.generator or self.states()["questions"] == "done":
            return ""
        if self.generator.startswith("hub:"):  # it would have to be loaded to say no more
            return f"{self.generator} writes the questions on this machine"
        own = open_generator(self.generator, cache=self.folder / "questions" / ANSWERS, **self.endpoint)
        settings = self.steps()[1].settings
        estimate = plan_questions(self.collection, settings, own)[1]
        check_estimate(own, estimate)
        return said_estimate(own, estimate)

    def _generator(self) -> Callable[[Path], Generator] | None:
        if not self.generator:
            return None
        return lambda answers: open_generator(self.generator, cache=answers, **self.endpoint)

    def inputs(self, step: Step, done: Mapping[str, StageManifest]) -> dict[str, Any]:
        """Fingerprints of what a stage reads: of all stages before it, and of the base."""
        found: dict[str, Any] = {name: one.fingerprint for name, one in done.items()}
        return (
            found if step.name in ("documents", "questions") else found | {"base": model_identity(self.base)}
        )

    def states(self) -> dict[str, str]:
        """State of each stage, by the files in its folder."""
        return {step.name: state_of(self.folder / step.name) for step in self.steps()}


def begin(
    source: str | Path,
    folder: Path,
    *,
    base: str | None = None,
    minutes: float | None = None,
    settings: Mapping[str, Any] | AdaptSettings | None = None,
    questions: str | Path | None = None,
    own: str | Path | None = None,
    endpoint: Mapping[str, Any] | None = None,
    recipe: str | Path | None = None,
    write: bool = True,
) -> Begun:
    """Open the source and make the plan, or read the one that the folder was begun with.

    Args:
        source, folder, base, minutes, settings, questions, own, endpoint, recipe: see :func:`adapt`.
        write: note the plan in the folder; otherwise nothing is written.

    Raises:
        SettingsError, TrainingError, DataError, StorageError: see :func:`adapt`.
    """
    if World.launched().size > 1:
        raise SettingsError("adapt runs in one process; start it without torchrun or accelerate launch")
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder}: is a file; choose a folder")
    file, alone, generator = brought(questions, own)
    given = [name for name, value in (endpoint or {}).items() if value is not None]
    if given and not generator:
        option = given[0].replace("_", "-")
        raise SettingsError(f"--{option}: of a model that writes questions; name one with --questions")
    named, written = read_adapt_recipe(recipe) if recipe is not None else (None, {})
    if isinstance(settings, AdaptSettings) and recipe is not None:
        raise SettingsError(
            "a recipe and settings that are complete: give the recipe, or plain values to change"
        )
    chosen = settings if isinstance(settings, AdaptSettings) else _parsed(recipe, written, settings or {})
    name = base or named or default_model()
    resolve(name, weights=True)  # refused here, not after the documents were read
    chosen = _settled(chosen)
    place = str(source)
    collection = hold(open_collection(place))
    asked: dict[str, Any] = {
        "format": FORMAT,
        "source": place if ":" in place and not Path(place).exists() else str(Path(place).resolve()),
        "base": model_identity(name),
        "settings": chosen.model_dump(mode="json"),
        "minutes": minutes,
        "own": own_questions(file)[1],
        "generator": generator,
        "prompt": (endpoint or {}).get("prompt"),
    }
    if (folder / BEGUN).is_file() and read_json(folder / BEGUN).get("format") != FORMAT:
        raise TrainingError(
            f"{folder}: was begun by another version of ernie-search; choose another output folder, or "
            "delete it"
        )
    plan = AdaptPlan.read(folder) if folder.is_dir() else None
    labelled = chosen.labels and not {TRAIN, DEV}.isdisjoint(collection.splits)
    mixed = {"labels_alone": 0} if generator or alone else {}
    timed = chosen.model_copy(update={"labels": labelled} | mixed)
    labels = _labels(collection) if labelled and (plan is None or not write) else Labels()
    if plan is not None:
        _check_same(folder, asked)
        if not write:
            plan = estimated(plan, measure_rates(name, collection, timed), timed, labels)
    else:
        _check_empty(folder, asked)
        passages = sum(1 for _ in collection.passages())
        if not passages:
            raise DataError(f"{place}: holds no passage to learn from")
        needed = minutes is not None or not write
        rates = measure_rates(name, collection, timed) if needed else None
        plan = make_plan(passages, rates, timed, minutes, labels=labels)
        if write:
            for one in (BEGUN, PLAN_FILE):
                remove_unfinished(folder / one)
            write_json(folder / BEGUN, asked)
            plan.write(folder)
    return Begun(
        source=str(asked["source"]),
        folder=folder,
        base=name,
        settings=chosen,
        plan=plan,
        own=(file, alone),
        generator=generator,
        endpoint=endpoint or {},
        collection=collection,
    )


def _parsed(
    recipe: str | Path | None, written: Mapping[str, Any], changes: Mapping[str, Any]
) -> AdaptSettings:
    """Settings of a recipe with changes; what is wrong in the recipe itself names it."""
    try:
        return parse_adapt({**written, **changes})
    except SettingsError:
        try:
            parse_adapt(written)
        except SettingsError as error:
            raise SettingsError(f"{recipe}: {error}") from error
        raise


def _labels(collection: Collection) -> Labels:
    """Labelled questions of a source, for the plan; none where one is faulty, which will be left out."""
    try:
        labelled = QuestionedCollection(collection, ())
    except DataError:
        return Labels()
    measured = len(labelled.queries(LABELLED)) if LABELLED in labelled.splits else 0
    return Labels(labelled.labels, measured)


def brought(questions: str | Path | None, own: str | Path | None) -> tuple[Path | None, bool, str]:
    """File of a person's questions, whether they are all, and the name of a generator, or "".

    Raises:
        DataError: a file that is not there.
        SettingsError: two files.
    """
    named = str(questions or "")
    generator = named if named.startswith(tuple(f"{one}:" for one in SCHEMES)) else ""
    files = [Path(one) for one in ("" if generator else named, own or "") if str(one)]
    if len(files) == 2:
        raise SettingsError(f"--own {own}: the questions in {questions} are all already; add them there")
    for one in files:
        if not one.is_file():
            raise DataError(
                f"{one}: no such file of questions; --questions takes hub:MODEL or openai:MODEL, too"
            )
    return (files[0] if files else None), bool(named and not generator), generator


def _settled(settings: AdaptSettings) -> AdaptSettings:
    """The training's settings checked."""
    train = settings.train.check()
    if train.attention_weight > 0:
        raise SettingsError(
            "train.attention_weight is above 0, and an adaptation has no cross-encoder whose attention could "
            "teach; set it to 0"
        )
    longest = settings.lists.length - 1 - train.negatives
    if train.list_passages > longest:
        raise SettingsError(
            f"train.list_passages={train.list_passages} of lists.length={settings.lists.length}: at most "
            f"{longest} are left beside a question's own passage; lower it, or make the lists longer"
        )
    return settings.model_copy(update={"train": train})


def _check_empty(folder: Path, asked: Mapping[str, Any]) -> None:
    """Refuse a folder that holds more than the beginning of the same adaptation, which a kill may leave."""
    found = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
    if {name for name in found if not is_unfinished(name, BEGUN, PLAN_FILE)} - {BEGUN}:
        raise StorageError(f"{folder}: holds something else; choose an empty folder, or another name")
    if BEGUN in found:
        _check_same(folder, asked)


def _check_same(folder: Path, asked: Mapping[str, Any]) -> None:
    """Refuse a folder that was begun for something else; it says what differs."""
    before = read_json(folder / BEGUN) if (folder / BEGUN).is_file() else {}
    names = [
        name for name in asked if not (same_model if name == "base" else eq)(before.get(name), asked[name])
    ]
    if not names:
        return
    said = []
    for name in names:
        then, now = before.get(name), asked[name]
        if name == "settings" and isinstance(then, dict):
            said += [f"{one} {was}, now {new}" for one, was, new in _differences(then, now)]
        else:
            said.append(f"{name} {then}, now {now}")
    raise TrainingError(
        f"{folder}: was begun for something else ({'; '.join(said)}); choose another "
        "output folder, or delete it"
    )


def _differences(
    then: Mapping[str, Any], now: Mapping[str, Any], before: str = ""
) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for name in now:
        was, new = then.get(name), now[name]
        if isinstance(was, dict) and isinstance(new, dict):
            found += _differences(was, new, f"{before}{name}.")
        elif was != new:
            found.append((f"{before}{name}", was, new))
    return found


def _publish(made: StageManifest, verdict: Verdict, folder: Path) -> None:
    """Copy the kept model to ``model``, unless it is there; another one that stands there is refused."""
    target = folder / MODEL
    origin = {
        "check": made.fingerprint,
        "use": verdict.use,
        "sentence": verdict.sentence,
        "verdict": f"../check/{VERDICT}",
    }
    if target.is_dir():
        if (target / ORIGIN).is_file() and read_json(target / ORIGIN) == origin:
            return
        raise StorageError(
            f"{target}: stands there, and is not of this adaptation; move it away and run again"
        )
    with atomic_directory(target) as temporary:
        shutil.copytree(folder / "check" / MODEL, temporary, dirs_exist_ok=True)
        write_json(temporary / ORIGIN, origin)
