"""The model card: ``README.md`` of a saved model in the hub's format, written from the training's files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ernie_search import __version__
from ernie_search._util.files import atomic_write, read_json
from ernie_search.errors import DataError, ModelError
from ernie_search.runtime.places import BUNDLED, HUB_DEFAULT, HUB_NAME
from ernie_search.runtime.settings import SETTINGS_FILE, ScoreSettings

CARD_FILE = "README.md"
PAPER = "https://arxiv.org/abs/2205.09153"
TERM_DESCRIPTIONS = {
    "dense_weight": "contrastive loss of the single vectors",
    "late_weight": "contrastive loss of the late interaction",
    "interaction_weight": "interaction distillation: the late interaction teaches the single vector",
    "cascade_weight": "cascade distillation: a cross-encoder teaches the late interaction",
    "direct_weight": "direct distillation: a cross-encoder teaches the single vector",
    "margin_weight": "MarginMSE from a cross-encoder's scores",
    "attention_weight": "token-level attention distillation from a cross-encoder",
    "dual_weight": "dual regularization: two passes with different dropout agree",
}
"""What each term of the loss does, by the setting that weights it: a line for every line of ``TERMS`` in
``losses/terms.py``, which this room may not import."""
TOLD = (
    "steps",
    "questions_per_batch",
    "negatives",
    "learning_rate",
    "teacher_temperature",
    "student_temperature",
    "seed",
    "precision",
)
"""Settings that the card lists."""
TRAININGS = ("warm-up", "cascade")
"""Kinds of stages that train the joint encoder; the last one that ran counts."""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """Facts for the card that are in none of the files.

    Attributes:
        name: the model's name, for the heading.
        data: what it was trained on, in words.
        dataset: its id on the hub, if it has one.
        language: codes, as ``en``.
        license: of the weights, as the hub writes it. Whoever publishes a model has to know it; those of the
            base and the data decide.
        limits: sentences beside those that always hold.
    """

    name: str = ""
    data: str = ""
    dataset: str = ""
    language: tuple[str, ...] = ()
    license: str = ""
    limits: tuple[str, ...] = ()


def write_card(
    model: Path,
    *,
    training_folder: Path | None = None,
    measures: Sequence[Path] = (),
    facts: CardFacts | None = None,
) -> Path:
    """Write ``README.md`` into a model directory, in place of the one that is there.

    Args:
        model: a saved joint model.
        training_folder: the training's folder (``training.json``, ``result.json``), or a pipeline's, whose
            last training counts; by default the folder above the model, if it is one of the two.
        measures: files of ``evaluate --json``.
        facts: what only a person knows.

    Raises:
        ModelError: no joint model there.
        DataError: a file of measures is not one.
        StorageError: a file is not JSON, or the disk refused.
    """
    if not (model / SETTINGS_FILE).is_file():
        raise ModelError(
            f"{model}: no joint model ({SETTINGS_FILE} is not there); name the model's directory"
        )
    settings = ScoreSettings.read(model)
    folder = training_folder if training_folder is not None else model.resolve().parent
    stages = _stages(folder)
    trained = [one for one in stages if one["kind"] in TRAININGS]
    at = folder / trained[-1]["stage"] if trained else folder
    if training_folder is not None and not (at / "training.json").is_file():
        raise DataError(
            f"{folder}: no training.json; name the folder of one training, or of a recipe's stages"
        )
    training = _read(at / "training.json")
    result = _read(at / "result.json") if training else {}
    reports = [report for path in measures for report in _reports(path)]
    facts = facts or CardFacts()
    name = facts.name or model.resolve().name
    header = _header(name, settings, reports, facts)
    body = "\n\n".join(_body(name, settings, training, result, reports, facts, stages))
    path = model / CARD_FILE
    with atomic_write(path) as handle:
        handle.write(f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n\n{body}\n")
    return path


def _read(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _table(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """What a file of a training says under ``key``, as far as it is an object."""
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _number(values: Mapping[str, Any], key: str) -> float:
    """The number under ``key``; 0 where there is none."""
    found = values.get(key)
    return found if isinstance(found, int | float) else 0.0


def _stages(folder: Path) -> list[dict[str, Any]]:
    """The manifest of each finished stage with its folder's name, in the order in which they ran."""
    if (folder / "training.json").is_file():
        return []
    found = [
        {**_read(path), "stage": path.parent.name, "written": path.stat().st_mtime_ns}
        for path in sorted(folder.glob("*/stage.json"))
    ]
    return sorted((one for one in found if "kind" in one), key=lambda one: (one["written"], one["stage"]))


def _reports(path: Path) -> list[dict[str, Any]]:
    """The model's reports in a file of ``evaluate --json``.

    Judged measures and answer recall have one each: the last system, since a baseline comes before the model.
    """
    found = read_json(path)
    try:
        systems = [found[key][-1] for key in ("systems", "answers") if found.get(key)]
        for one in (one for system in systems for one in system["measures"].values()):
            float(one["mean"]), float(one["low"]), float(one["high"])
        if not systems:
            raise KeyError("systems")
        return [{"source": str(found["source"]), "split": str(found["split"]), **one} for one in systems]
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{path}: not of evaluate --json ({error}); write it with: ernie-search evaluate --json"
        ) from error


def _header(
    name: str, settings: ScoreSettings, reports: Sequence[Mapping[str, Any]], facts: CardFacts
) -> dict[str, Any]:
    """The YAML header that the hub reads, with known facts only: a wrong licence is worse than none."""
    header: dict[str, Any] = {}
    if facts.language:
        header["language"] = list(facts.language)
    if facts.license:
        header["license"] = facts.license
    base = hub_base(settings.base)
    if base:
        header["base_model"] = base
    if facts.dataset:
        header["datasets"] = [facts.dataset]
    header |= {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": [
            "sentence-transformers",
            "feature-extraction",
            "dense-retrieval",
            "late-interaction",
            "ernie-search",
        ],
    }
    if reports:
        header["model-index"] = [{"name": name, "results": [_index_entry(one) for one in reports]}]
    return header


def hub_base(base: str) -> str:
    """The hub's name of a base as our settings have it (``org/name@revision:layers``); "" if it has none.

    The bundled base is named as the hub has it; a folder of this machine says nothing to others.
    """
    name = base.partition(":")[0].partition("@")[0]
    name = HUB_DEFAULT if name == BUNDLED else name
    return name if HUB_NAME.fullmatch(name) and not Path(name).exists() else ""


def _index_entry(report: Mapping[str, Any]) -> dict[str, Any]:
    data = Path(report["source"]).name
    return {
        "task": {"type": "information-retrieval", "name": "Information Retrieval"},
        "dataset": {"name": f"{data} ({report['split']})", "type": data, "split": report["split"]},
        "metrics": [
            {
                "type": measure.lower().replace("@", "_at_"),
                "name": measure,
                "value": round(found["mean"], 4),
                "args": {
                    "interval": f"{found['low']:.4f} to {found['high']:.4f} (95 % bootstrap)",
                    "questions": report["queries"],
                },
            }
            for measure, found in report["measures"].items()
        ],
    }


def _body(
    name: str,
    settings: ScoreSettings,
    training: Mapping[str, Any],
    result: Mapping[str, Any],
    reports: Sequence[Mapping[str, Any]],
    facts: CardFacts,
    stages: Sequence[Mapping[str, Any]],
) -> list[str]:
    base = f" from `{settings.base}`" if settings.base and not Path(settings.base).is_absolute() else ""
    parts = [
        f"# {name}",
        f"A dense retriever trained{base} with [ERNIE-Search's method]({PAPER}), by ernie-search "
        f"{__version__}. One Transformer gives two readings of a text in one pass: a single vector (this "
        "directory is a plain sentence-transformers model), and "
        f"{settings.token_dim} numbers a token for late interaction.",
        "## Use",
        "```python\nfrom sentence_transformers import SentenceTransformer\n\n"
        'model = SentenceTransformer("path/to/this/model")\n'
        'questions = model.encode_query(["..."])\npassages = model.encode_document(["..."])\n'
        "scores = model.similarity(questions, passages)\n```",
        "Both readings, with an index and re-ranking: "
        "`ernie-search index COLLECTION --model PATH --output INDEX`.",
        "| | |\n|---|---|\n"
        f"| similarity | {settings.similarity} |\n"
        f"| tokens read of a question / passage | {settings.query_length} / {settings.passage_length} |\n"
        f"| prompts | {_code(settings.query_prompt)} / {_code(settings.passage_prompt)} |",
        "## Method",
    ]
    asked = _table(training, "settings")
    terms = [
        f"- {what} (weight {asked[key]:g})" for key, what in TERM_DESCRIPTIONS.items() if _number(asked, key)
    ]
    if terms:
        if stages:
            parts.append(f"Stages: {', '.join(one['stage'] for one in stages)}. Of the last training:")
        parts += ["The loss of each step is the weighted sum of:", "\n".join(terms)]
        rows = [f"| {key.replace('_', ' ')} | {asked[key]} |" for key in TOLD if key in asked]
        parts.append("| setting | value |\n|---|---|\n" + "\n".join(rows))
    else:
        parts.append("The settings of the training are not beside this model.")
    parts += ["## Data", facts.data or "Not said by whoever made this card."]
    if training.get("collection"):
        parts.append(f"Fingerprint of the collection: `{training['collection']}`.")
    parts += ["## Measures", *(_measures(one) for one in reports)]
    if not reports:
        parts.append("None were given to this card.")
    parts += ["## Limits", "\n".join(f"- {one}" for one in _limits(settings, result, facts))]
    if facts.license:
        parts += ["## Licence", f"{facts.license}, as said by whoever made this card."]
    else:
        parts += ["## Licence", "Not said. The licences of the base model and of the training data decide."]
    if _table(training, "versions"):
        told = ", ".join(f"{key.replace('_', '-')} {value}" for key, value in training["versions"].items())
        parts += ["## Versions", f"ernie-search {__version__}, {told}."]
    return parts


def _measures(report: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {one['mean']:.4f} | {one['low']:.4f} to {one['high']:.4f} |"
        for name, one in report["measures"].items()
    ]
    data = f"`{Path(report['source']).name}`, split {report['split']}"
    head = f"{data}, {report['queries']:,} questions, {report['system']}:"
    return "\n".join([head, "", "| measure | mean | 95 % bootstrap interval |", "|---|---|---|", *rows])


def _limits(settings: ScoreSettings, result: Mapping[str, Any], facts: CardFacts) -> list[str]:
    found = [
        f"What stands after the first {settings.passage_length} tokens of a passage is not read.",
        "Measures hold for the collections they were taken on; elsewhere they have to be taken again.",
        "A retriever finds what is like the question, true or not, and carries the biases of base and data.",
    ]
    cut = _number(_table(result, "truncated"), "passage")
    if cut:
        found.insert(1, f"In training {100 * cut:.1f} % of the passages were longer than that.")
    return found + list(facts.limits)


def _code(prompt: str) -> str:
    return f"`{prompt}`" if prompt else "none"
