"""``onnx/ernie_search_onnx.json``: what an exported graph is, so that it is read without the torch model."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ernie_search._util.files import read_json, sha256_file, write_json
from ernie_search.encoder import EncoderKind
from ernie_search.errors import ModelError, StorageError
from ernie_search.runtime.cache import known_sha256
from ernie_search.types import Task

ONNX_FOLDER = "onnx"
SIDECAR_FILE = "ernie_search_onnx.json"
GRAPH_FILE = "model.onnx"
INT8_FILE = "model_int8.onnx"
Precision = Literal["fp32", "int8"]


class Loss(BaseModel):
    """How far a graph's vectors are from the model's own, on a sample of texts.

    Attributes:
        texts: how many.
        dense, dense_least: mean and least cosine of single vectors to the model's; None for kind late.
        tokens, tokens_least: of token vectors.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    texts: int = Field(ge=1)
    dense: float | None = None
    dense_least: float | None = None
    tokens: float = 1.0
    tokens_least: float = 1.0

    @property
    def mean_dense(self) -> float:
        """Mean cosine of single vectors; of kind late that of the tokens, which they are the mean of."""
        return self.tokens if self.dense is None else self.dense


class Graph(BaseModel):
    """One file: its name in the folder, size and SHA-256; cosines to torch at export; an int8 graph's loss.

    ``data`` is the file that its weights are in, where they are not in the graph itself.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    file: str = Field(pattern=r"^[\w.\-]+$")
    bytes: int = Field(ge=1)
    sha256: str
    cosine_dense: float | None = None
    cosine_tokens: float | None = None
    loss: Loss | None = None
    data: "Graph | None" = None

    @classmethod
    def of(cls, path: Path, **more: object) -> "Graph":
        """The entry of a file that is there."""
        values = {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_file(path), **more}
        return cls.model_validate(values)


class Expansion(BaseModel):
    """A question's expansion to a fixed length, as ColBERT has it.

    Attributes:
        token_id: what fills a short question, mostly [MASK].
        length: up to which it is filled.
        attend: whether the encoder attends to these tokens; they are scored in any case.
        fixed: whether longer questions are cut to ``length``.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    token_id: int
    length: int = Field(ge=1)
    attend: bool = False
    fixed: bool = True


class Sidecar(BaseModel):
    """All that reading with the graphs beside it needs.

    A graph has the inputs ``input_ids`` and ``attention_mask``, int64 ``(B, L)``; the outputs ``dense``
    float32 ``(B, D)``, L2-normalised where the similarity is cosine (absent for kind late), and ``tokens``
    float32 ``(B, L, d)`` with rows of length one. Which tokens count is decided outside
    (:func:`ernie_search.runtime.batches.late_mask`).

    Attributes:
        fingerprint: of the torch model, so that an index made with one opens with the other.
        dim, token_dim: D and d; D = d for kind late.
        special_ids: tokens that take no part in late interaction.
        skip_ids: the same for questions and passages apart: what a late-interaction model skips.
        keep_prompt: whether the prompt's tokens take part.
        expansion: of questions.
        weights: SHA-256 of the weights that the graphs were made of, by file in the model's directory.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal[1] = 1
    kind: EncoderKind
    name: str
    fingerprint: str
    dim: int = Field(ge=1)
    token_dim: int = Field(ge=1)
    similarity: Literal["cosine", "dot"] = "cosine"
    query_prompt: str = ""
    passage_prompt: str = ""
    query_length: int = Field(ge=1)
    passage_length: int = Field(ge=1)
    pad_id: int = 0
    special_ids: list[int]
    skip_ids: dict[Task, list[int]] = Field(default_factory=dict)
    keep_prompt: bool = False
    expansion: Expansion | None = None
    graphs: dict[Precision, Graph]
    weights: dict[str, str] = Field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the file into the folder of the graphs."""
        write_json(folder / SIDECAR_FILE, self.model_dump(exclude_none=True))

    @classmethod
    def read(cls, folder: Path) -> "Sidecar":
        """Read it from the folder of the graphs.

        Raises:
            ModelError: it cannot be read; names the file and the first thing that is wrong.
        """
        path = folder / SIDECAR_FILE
        advice = "export the model again (ernie-search export --onnx)"
        try:
            return cls.model_validate(read_json(path))
        except (StorageError, OSError) as error:
            raise ModelError(f"{str(error).partition(';')[0]}; {advice}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ModelError(f"{path}: {where}: {first['msg']}; {advice}") from error

    def check_weights(self, model: Path) -> None:
        """Refuse graphs of other weights than those that are in the model's directory now, if any are.

        Raises:
            ModelError: weights were changed since the export.
        """
        for name, digest in self.weights.items():
            path = model / name
            if path.is_file() and known_sha256(path) != digest:
                raise ModelError(
                    f"{path}: altered since its graph was made; export the model again (ernie-search export "
                    "--onnx), or delete the folder onnx"
                )

    def checked(self, folder: Path, precision: Precision, *, check: bool = False) -> Path:
        """The graph's path, after a check of its files: their sizes, and with ``check`` their SHA-256.

        Raises:
            ModelError: no graph of this precision, or a file that is missing or is not what was written.
        """
        graph = self.graphs.get(precision)
        if graph is None:
            raise ModelError(
                f"{folder}: no {precision} graph here; write one with: ernie-search export --onnx"
                f"{' --int8' if precision == 'int8' else ''}"
            )
        advice = "copy or export the model again"
        for one in (graph, graph.data):
            if one is None:
                continue
            path = folder / one.file
            if not path.is_file():
                raise ModelError(f"{path}: missing; {advice}")
            size = path.stat().st_size
            if size != one.bytes:
                raise ModelError(f"{path}: {size:,} bytes, and {one.bytes:,} were written; {advice}")
            if check and sha256_file(path) != one.sha256:
                raise ModelError(f"{path}: altered since it was written (its SHA-256 differs); {advice}")
        return folder / graph.file
