"""In which modes an index can be searched here."""

from typing import get_args

from ernie_search.search import Mode, Searcher


def usable_modes(searcher: Searcher) -> list[str]:
    """The modes that this index, model and installation can answer, best known first."""
    index = searcher.index
    capabilities: frozenset[str] = getattr(index, "capabilities", frozenset())
    needs = {
        "dense": True,
        "late": index.has_tokens,
        "hybrid": "bm25" in capabilities,
        "cross": searcher.cross is not None,
    }
    return [mode for mode in get_args(Mode) if needs.get(mode, False)]
