"""One self-contained HTML file for a training, an ablation or run files; needs neither model nor data."""

from ernie_search.report.ablation import ablation_sections, collection_of, split_of
from ernie_search.report.comparison import comparison_sections, comparison_tiles, scatter_section
from ernie_search.report.examples import examples_section
from ernie_search.report.folder import is_ablation, read_folder
from ernie_search.report.page import Report, Section, Tile, render, write_report
from ernie_search.report.training import training_sections, training_tiles

__all__ = [
    "Report",
    "Section",
    "Tile",
    "ablation_sections",
    "collection_of",
    "comparison_sections",
    "comparison_tiles",
    "examples_section",
    "is_ablation",
    "read_folder",
    "render",
    "scatter_section",
    "split_of",
    "training_sections",
    "training_tiles",
    "write_report",
]
