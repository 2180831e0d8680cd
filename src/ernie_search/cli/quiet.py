"""Keep the libraries' own chatter out of ours: their bars would stand between our lines."""

import contextlib
import logging
import os
from collections.abc import Iterator

from ernie_search.cli.output import working


def quiet_libraries() -> None:
    """Only errors from transformers and sentence-transformers, and no bars ("Loading weights") of theirs."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else a fork after tokenizing warns
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # It tells of mean pooling for a bare encoder, which is not what we then take.
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """A spinner while a model loads, quietly. Every command that loads one does it in here."""
    with working(f"loading {what}"):
        quiet_libraries()
        yield
