"""``ernie-search export``: a model for use without this package, or without torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ernie_search.cli.output import binary_size, loading, print_line, working
from ernie_search.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from ernie_search.model.onnx import Exportable

EXAMPLE = "Example: ernie-search export runs/mine/best --onnx --precision auto"


def export(
    model: Annotated[str, typer.Argument(help="A model's directory; for --onnx a hub name, too.")],
    output: Annotated[
        Path | None, typer.Argument(help="Output folder; an earlier export there is replaced.")
    ] = None,
    output_option: Annotated[Path | None, typer.Option("--output", help="The same as OUTPUT.")] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write an ONNX graph, by default into the model's own directory.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="The same as --precision int8: a graph of 8-bit weights, too.")
    ] = False,
    precision: Annotated[
        Literal["fp32", "int8", "auto"],
        typer.Option(help="auto keeps the graph of 8 bits where its measured loss is small."),
    ] = "fp32",
) -> None:
    """Export a model: its late interaction as a MultiVectorEncoder of sentence-transformers, or as ONNX.

    With --onnx any model is written as one graph with both readings, for use without torch; it must give \
torch's vectors, or nothing is written. Without it the late interaction of a model that 'train' made is \
exported, and loaded again to check its scores; its single vector needs no export, as the directory is a \
plain SentenceTransformer.
    """
    place = output if output is not None else output_option
    if int8 and precision == "auto":
        raise SettingsError("--int8 and --precision auto: one decides and the other measures; leave one out")
    if onnx:
        _export_onnx(model, place, "int8" if int8 else precision)
        return
    if int8 or precision != "fp32":
        raise SettingsError("--int8 and --precision are of ONNX graphs; add --onnx")
    if place is None:
        raise SettingsError("OUTPUT: name the folder for the MultiVectorEncoder, or add --onnx")
    with loading("the model"):
        from ernie_search.model import export_multi_vector, load_joint

        encoder = load_joint(model)
    with working("writing and checking"):
        written = export_multi_vector(encoder, place)
    print_line(f"{written}: a MultiVectorEncoder, which gives the same scores as {model}.")
    print_line(
        f"Next: from sentence_transformers import MultiVectorEncoder; MultiVectorEncoder({str(written)!r})"
    )


def _export_onnx(model: str, output: Path | None, precision: str) -> None:
    if output is None and not Path(model).is_dir():
        raise SettingsError(f"--output: {model} is no directory of yours; name the folder to write")
    with loading("the model"):
        from ernie_search.model import export_onnx, load

        encoder: Exportable = load(model, device="cpu")
    folder = Path(model) if output is None else output
    with working("writing and checking"):
        place = export_onnx(encoder, folder, int8=precision != "fp32")
    from ernie_search.encoding.opening import INT8_COSINE
    from ernie_search.model.onnx import drop_int8
    from ernie_search.runtime import Sidecar

    graphs = Sidecar.read(place).graphs
    full = graphs["fp32"]
    least = min(one for one in (full.cosine_dense, full.cosine_tokens) if one is not None)
    print_line(f"{place / full.file}: {binary_size(full.bytes)}, least cosine to torch {least:.5f}.")
    if "int8" not in graphs:
        return
    small, loss = graphs["int8"], graphs["int8"].loss
    if loss is None:
        raise ModelError(f"{place}: the loss of the int8 graph was not measured; export again")
    said = f"mean cosine to fp32: single vectors {loss.mean_dense:.4f}, token vectors {loss.tokens:.4f}"
    if precision == "auto" and min(loss.mean_dense, loss.tokens) < INT8_COSINE:
        drop_int8(place)
        print_line(f"int8: left out, below the bound of {INT8_COSINE} ({said}); --int8 keeps it.")
        return
    why = f", within the bound of {INT8_COSINE}" if precision == "auto" else ""
    print_line(f"{place / small.file}: {binary_size(small.bytes)}, {said}{why}.")
    print_line(f"Next: ernie-search search 'your question' --index INDEX --model {folder} --precision int8")
