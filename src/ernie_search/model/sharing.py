"""Upload of a model's directory to the Hugging Face hub, with its card and its ONNX graph."""

from pathlib import Path
from typing import Any

from ernie_search.errors import ModelError
from ernie_search.model.card import CARD_FILE, CardFacts, write_card
from ernie_search.runtime.saved_files import check_saved_files, first_line
from ernie_search.runtime.settings import SETTINGS_FILE
from ernie_search.runtime.sidecar import ONNX_FOLDER

NOT_UPLOADED = (".*", "**/.*", "best.json", "optimizer.pt", "scheduler.pt", "rng_state*", "training_args.bin")
"""What lies in a model's directory and is none of the model."""


def shared_files(folder: Path) -> dict[str, int]:
    """Bytes of each file that ``share`` would upload as the directory is now, by its path there.

    Raises:
        ModelError: no model there, or a damaged one.
    """
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

    _check(folder)
    found = sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file())
    kept = filter_repo_objects(found, ignore_patterns=list(NOT_UPLOADED))
    return {name: (folder / name).stat().st_size for name in kept}


def lacks(folder: Path) -> list[str]:
    """What a reader of the hub would miss in a model's directory, a sentence each."""
    found = []
    if not (folder / CARD_FILE).is_file():
        found.append(f"{CARD_FILE} is not there: a short card is written; a better one by: ernie-search card")
    if not (folder / ONNX_FOLDER).is_dir():
        found.append(
            f"{ONNX_FOLDER}/ is not there, so others need torch; made by: ernie-search export {folder} --onnx"
        )
    return found


def _check(folder: Path) -> None:
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise ModelError(f"{folder}: no model here (config.json is missing); name a model's directory")
    check_saved_files(folder)


def share(
    folder: Path, repository: str, *, private: bool = False, revision: str | None = None, api: Any = None
) -> str:
    """Upload a model's directory as it is: weights, head, settings, graph and card.

    A joint model without a card gets one first.

    Args:
        folder: the model's directory.
        repository: ``org/name``; made if it is not there.
        private: whether a new repository is seen by its owners alone.
        revision: a branch, made if it is not there; by default the main one.
        api: a ``huggingface_hub.HfApi`` with its address and token; by default the user's own.

    Returns:
        The address of the commit.

    Raises:
        ModelError: no model there, a damaged one, or the hub refuses or cannot be reached.
    """
    _check(folder)
    if (folder / SETTINGS_FILE).is_file() and not (folder / CARD_FILE).is_file():
        write_card(folder, facts=CardFacts(name=repository.rpartition("/")[2]))
    if api is None:
        from huggingface_hub import HfApi

        api = HfApi()
    try:
        made = api.create_repo(repo_id=repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id=made.repo_id, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=made.repo_id,
            folder_path=str(folder),
            revision=revision,
            commit_message="Upload a model of ernie-search",
            ignore_patterns=list(NOT_UPLOADED),
        )
    except (OSError, ValueError) as error:  # the hub's errors are of both kinds
        raise ModelError(
            f"{repository}: cannot be uploaded ({first_line(error)[:200]}); check the name and the network, "
            "and log in with: hf auth login"
        ) from error
    return str(done.commit_url)
