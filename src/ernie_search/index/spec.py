"""What an index holds and how: decided when it is made, written into it, and never guessed afterwards."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ernie_search._util.files import did_you_mean
from ernie_search._util.words import LANGUAGES, brief
from ernie_search.encoder import EncoderKind
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index.codecs import CodecName
from ernie_search.shards import Manifest

FieldType = Literal["str", "int", "float", "bool"]
"""What a field that filters can ask for may be."""

LARGEST_INT = 2**63 - 1
"""Arrow's and SQL's integers end here, and at its negative; JSON's and Python's do not."""

TokenFormat = Literal["none", CodecName]
"""How token matrices are stored; see ``codecs``."""

DenseFormat = Literal["fp32", "int8"]
"""How vectors are held in memory, to be compared. On disk they are fp32 always."""

AnnKind = Literal["ivf_rq", "ivf_hnsw_sq", "ivf_sq", "ivf_pq", "none"]
"""LanceDB's approximate indexes: lists of vectors with one bit a dimension (RaBitQ); graphs over 8-bit
vectors; lists of 8-bit vectors, or of product codes."""

FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

RESERVED = ("id", "title", "text")
"""What every passage has besides its fields; in a filter a field of such a name would be taken for that."""


class QdrantSettings(BaseModel):
    """How a cluster spreads and keeps the collection.

    Attributes:
        shards: pieces of the collection, spread over the nodes.
        replicas: copies of each piece.
        on_disk: keep vectors and payload on disk, not in memory.
        token_vectors_on_disk: the same for the token matrices, much the largest part.
        average_words: BM25's average length of a passage. A point is weighed when it is written, before
            the others are known, so it is said beforehand; without spaces, count pairs of characters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shards: int = Field(1, ge=1)
    replicas: int = Field(1, ge=1)
    on_disk: bool = False
    token_vectors_on_disk: bool = True
    average_words: int = Field(100, ge=1)


class IndexSpec(BaseModel):
    """What an index holds.

    Attributes:
        model_name, model_fingerprint: the model that makes the vectors; another's are refused.
        model_path: its directory as seen from the index's folder; "" if unknown.
        model_ref: how to find a model that is in no directory of the user's: ``org/name@commit``, or the
            bundled base's name; "" otherwise.
        encoder_kind: what the model was made for; see :mod:`ernie_search.encoder`.
        passages_in: the precision of the graph that encoded the passages; questions in another one are
            allowed, and searched a little less well.
        dim: ``D`` of the single vectors.
        language: of the passages, for the words that BM25 counts; see ``counted_words``. What an index is
            made of says it (``index_shards``); "none" takes words as they stand.
        token_dim: ``d`` of the token vectors.
        tokens: how token matrices are stored; "none" leaves them out.
        projection: digest of the ``Projection`` that its token vectors go through; "" if none.
        fields: the passages' fields that filters can ask for, with their types. All others are kept, too.
        dense: how an exact search holds the vectors: "int8" takes a quarter of the memory and gives the same
            lists, as what could be among the best is scored again with the full vectors (``int8_vectors``).
        ann: the approximate index of a large collection; "none" searches every vector always.
        exact_below: a collection of fewer passages is searched exactly. 50,000 x 384 are 77 MB in memory and
            about 5 ms a question; approximation saves little below that.
        partitions: lists of the approximate index; 0 takes the square root of the number of passages (for
            graphs: one graph for every 250,000).
        probes: lists that a search reads; 0 takes 1 in 12, at least 16 (for graphs: all).
        ef: candidates that a graph search keeps; 0 takes 10 for every hit asked for, at least 150.
        refine: candidates for every hit asked for that are scored again with the full vectors; of one-bit
            codes 200 at least.
        qdrant: settings of a Qdrant collection alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_name: str
    model_fingerprint: str = Field(min_length=1)
    model_path: str = ""
    model_ref: str = ""
    encoder_kind: EncoderKind = "joint"
    passages_in: Literal["fp32", "int8"] = "fp32"
    dim: int = Field(ge=1)
    language: str = "none"
    token_dim: int = Field(0, ge=0)
    tokens: TokenFormat = "none"
    projection: str = ""
    fields: dict[str, FieldType] = Field(default_factory=dict)
    dense: DenseFormat = "fp32"
    ann: AnnKind = "ivf_rq"
    exact_below: int = Field(50_000, ge=0)
    partitions: int = Field(0, ge=0)
    probes: int = Field(0, ge=0)
    ef: int = Field(0, ge=0)
    refine: int = Field(4, ge=1)
    qdrant: QdrantSettings = QdrantSettings()

    @field_validator("fields")
    @classmethod
    def _usable(cls, value: dict[str, FieldType]) -> dict[str, FieldType]:
        for name in value:
            if not FIELD_NAME.fullmatch(name):
                raise ValueError(f"field {name!r}: letters, digits and _ only")
            if name in RESERVED:
                raise ValueError(f"field {name!r}: every passage has a column of that name already")
        return value

    @field_validator("language")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in LANGUAGES:
            raise ValueError(f"{brief(value)!r} is none that is known{did_you_mean(value, LANGUAGES)}")
        return value

    @property
    def with_tokens(self) -> bool:
        """Whether token matrices are stored."""
        return self.tokens != "none"


def make_spec(**values: Any) -> IndexSpec:
    """An ``IndexSpec``, with what is wrong said in one line.

    Raises:
        SettingsError: an unknown setting or an impossible value.
    """
    try:
        return IndexSpec(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"index settings: {place}: {first['msg']}") from None


def spec_for(manifest: Manifest, fields: Mapping[str, FieldType] | None = None, **settings: Any) -> IndexSpec:
    """The spec of an index for a folder of shards; tokens as ``default_tokens`` says, if none are named.

    Raises:
        SettingsError: see ``make_spec``, or tokens asked for that the shards do not hold, or of another
            ``token_dim``.
    """
    wanted = settings.pop("tokens", "auto")
    if wanted == "auto":
        wanted = default_tokens(manifest.encoder_kind) if manifest.with_tokens else "none"
    if wanted != "none" and not manifest.with_tokens:
        raise SettingsError(f"tokens={wanted!r}: the shards hold no token matrices; encode again with tokens")
    token_dim = settings.pop("token_dim", None)
    if wanted != "none" and token_dim not in (None, manifest.token_dim):
        raise SettingsError(
            f"token_dim={token_dim}: the shards' token vectors have {manifest.token_dim}; encode again"
        )
    return make_spec(
        model_name=manifest.model_name,
        model_fingerprint=manifest.model_fingerprint,
        model_ref=manifest.model_ref,
        encoder_kind=manifest.encoder_kind,
        passages_in="int8" if manifest.precision == "int8" else "fp32",
        dim=manifest.dim,
        token_dim=manifest.token_dim if wanted != "none" else 0,
        tokens=wanted,
        projection=manifest.projection if wanted != "none" else "",
        fields=dict(fields or {}),
        **settings,
    )


def default_tokens(kind: str) -> TokenFormat:
    """The token format of an index that names none, for the kind of encoder that makes it.

    Raw states of a plain encoder, projected, lose nothing that can be measured at two bits a dimension; what
    a trained head makes is kept as it is.
    """
    return "2bit" if kind == "plain" else "fp16"


def check_same_model(spec: IndexSpec, name: str, fingerprint: str) -> None:
    """Refuse vectors that another model made.

    Raises:
        IndexStateError: the fingerprints differ; the message says both names.
    """
    if fingerprint != spec.model_fingerprint:
        raise IndexStateError(
            f"the index was made by model {spec.model_name} ({spec.model_fingerprint}), these vectors by "
            f"{name} ({fingerprint}); use that model, or index again with this one"
        )


def check_same_spec(place: str, wanted: IndexSpec, found: IndexSpec) -> None:
    """Refuse an index that is there already but holds something else; only its model's directory may differ.

    Args:
        place: of the index, for the message.
        wanted, found: what it should hold, and what it does.

    Raises:
        IndexStateError: naming both models, or the first setting that differs.
    """
    if wanted.model_fingerprint != found.model_fingerprint:
        raise IndexStateError(
            f"{place}: made by model {found.model_name} ({found.model_fingerprint}), not "
            f"{wanted.model_name} ({wanted.model_fingerprint}); choose another place or use that model"
        )
    for name in IndexSpec.model_fields:
        if name not in ("model_path", "model_ref") and getattr(found, name) != getattr(wanted, name):
            if name == "projection":
                raise IndexStateError(
                    f"{place}: its token vectors went through another projection than these, of other "
                    "passages; add them with: ernie-search index add"
                )
            raise IndexStateError(
                f"{place}: made with {name}={getattr(found, name)!r}, not {getattr(wanted, name)!r}; "
                "choose another place or that setting"
            )
