"""Who is compared, with which settings, and where those are from.

Every peer is trained as its own documentation says (*documented*), and once more with the recipe's learning
rate and with its scores brought to the size of the teacher's logits (*fitted*), since the documented values
were chosen for larger models and longer runs. Whichever variant is better on dev, with the first seed, is
the peer's row; both dev measures are in the figures.
"""

from dataclasses import dataclass, field, replace
from typing import Any

DENSE, LATE = "dense", "late"
DOCUMENTED, FITTED = "documented", "fitted"
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Variant:
    """One choice of settings.

    Attributes:
        name: ``documented`` or ``fitted``.
        source: where the settings are from.
        learning_rate: peak rate; ``None`` takes the recipe's.
        warmup: share of the steps in which it rises.
        options: what else the runner reads.
    """

    name: str
    source: str
    learning_rate: float | None = None
    warmup: float = 0.1
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class System:
    """One way of training.

    Attributes:
        name: of its rows.
        what: in words.
        script: of the runner that trains it, in ``runners``.
        readings: ``dense``, ``late`` or both: what its model is searched with.
        distils: whether it learns from the teacher's scores.
        mean_only: whether its single vector can only be a mean (or the first token): it starts from a
            warm-up of that kind.
        environment: of ``requirements``; ``None`` for this project's own.
        variants: the settings to choose from.
    """

    name: str
    what: str
    script: str
    readings: tuple[str, ...]
    distils: bool
    variants: tuple[Variant, ...]
    environment: str | None = None
    mean_only: bool = False


def _sbert(name: str, what: str, distils: bool, documented: Variant, fitted: dict[str, Any]) -> System:
    late = name.startswith("st-multivector")
    options = {"loss": name.removeprefix("st-")}
    variants = (
        Variant(
            documented.name,
            documented.source,
            documented.learning_rate,
            documented.warmup,
            options | documented.options,
        ),
        Variant(FITTED, "the recipe's learning rate; temperatures of this project", options=options | fitted),
    )
    return System(
        name,
        f"sentence-transformers, {what}",
        "sbert.py",
        (LATE,) if late else (DENSE,),
        distils,
        variants,
    )


MULTI_VECTOR = "examples/multi_vector_encoder/training/msmarco"
README = "README of the package"
SYSTEMS: tuple[System, ...] = (
    System(
        OURS,
        "this project, the recipe's cascade with all its losses",
        "ours.py",
        (DENSE, LATE),
        True,
        (Variant(DOCUMENTED, "the recipe"),),
    ),
    _sbert(
        "st-mnrl",
        "MultipleNegativesRankingLoss with four hard negatives, no duplicates in a batch",
        False,
        Variant(DOCUMENTED, "examples/sentence_transformer/training/ms_marco: 2e-5, scale 20", 2e-5),
        {},
    ),
    _sbert(
        "st-marginmse",
        "MarginMSELoss with the teacher's scores",
        True,
        Variant(
            DOCUMENTED,
            "docstring and examples/.../ms_marco: dot product of vectors that are not normalised, 2e-5",
            2e-5,
            options={"normalise": False},
        ),
        {"scale": 20.0},
    ),
    _sbert(
        "st-kl",
        "DistillKLDivLoss with the teacher's scores",
        True,
        Variant(
            DOCUMENTED,
            "docstring: dot product of vectors that are not normalised, temperature 1; 2e-5",
            2e-5,
            options={"normalise": False},
        ),
        {"student_temperature": 0.05, "teacher_temperature": 2.0},
    ),
    _sbert(
        "st-multivector-mnrl",
        "MultiVectorEncoder, MultiVectorMultipleNegativesRankingLoss",
        False,
        Variant(DOCUMENTED, f"{MULTI_VECTOR}/training_contrastive.py: 3e-5, scale 1", 3e-5, 0.05),
        {},
    ),
    _sbert(
        "st-multivector-kl",
        "MultiVectorEncoder, MultiVectorDistillKLDivLoss with the teacher's scores",
        True,
        Variant(DOCUMENTED, f"{MULTI_VECTOR}/training_kd.py: 3e-5, temperature 1", 3e-5, 0.05),
        {"student_temperature": 1.0, "teacher_temperature": 2.0},
    ),
    System(
        "pylate-contrastive",
        "PyLate, Contrastive",
        "pylate_colbert.py",
        (LATE,),
        False,
        (
            Variant(DOCUMENTED, f"{README}: 3e-6, temperature 1", 3e-6, 0.0, {"loss": "contrastive"}),
            Variant(FITTED, "the recipe's learning rate", options={"loss": "contrastive"}),
        ),
        "pylate",
    ),
    System(
        "pylate-distillation",
        "PyLate, Distillation with the teacher's scores",
        "pylate_colbert.py",
        (LATE,),
        True,
        (
            Variant(
                DOCUMENTED, f"{README}: 1e-5, min-max of the student's scores", 1e-5, 0.0, {"loss": "kd"}
            ),
            Variant(
                FITTED,
                "the recipe's learning rate; scores as they are, the teacher's halved",
                options={"loss": "kd", "normalize_scores": False, "teacher_temperature": 2.0},
            ),
        ),
        "pylate",
    ),
    System(
        "flagembedding-m3",
        "FlagEmbedding, M3 unified fine-tuning with self-distillation and the teacher's scores; "
        "from a warm-up with the mean",
        "flag_m3.py",
        (DENSE, LATE),
        True,
        (
            Variant(
                DOCUMENTED,
                "examples/finetune/embedder/encoder_only/m3.sh: 1e-5, temperature 0.02, m3_kd_loss, "
                "self-distillation from the start; mean pooling, as the base has",
                1e-5,
            ),
            Variant(
                FITTED,
                "the recipe's learning rate; the teacher's scores halved",
                options={"teacher_temperature": 2.0},
            ),
        ),
        "flagembedding",
        mean_only=True,
    ),
)


def chosen(names: str, variants: str = "") -> list[System]:
    """The systems named, by comma, and always this project's; all for none. Likewise their variants."""
    wanted, kinds = ({name for name in text.split(",") if name} for text in (names, variants))
    known = {system.name for system in SYSTEMS}
    for option, unknown, allowed in (
        ("--rows", wanted - known, sorted(known)),
        ("--variants", kinds - {DOCUMENTED, FITTED}, [DOCUMENTED, FITTED]),
    ):
        if unknown:
            raise SystemExit(f"{option}: unknown {', '.join(sorted(unknown))}; one of {', '.join(allowed)}")
    found = [one for one in SYSTEMS if not wanted or one.name in wanted or one.name == OURS]
    return [
        replace(
            one, variants=tuple(v for v in one.variants if not kinds or v.name in kinds or one.name == OURS)
        )
        for one in found
    ]
