"""Trackers that a training reports to, through the trainer's own ``report_to``: checked before it begins."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from ernie_search._util.files import did_you_mean
from ernie_search.errors import SettingsError

OWN = "tensorboard"
"""Written by every training where the package is installed (``log.py``): the trainer must not do it twice."""
PACKAGES = {"azure_ml": "azureml.core", "comet_ml": "comet_ml", "dvclive": "dvclive"}
"""Modules that are not called as their tracker is."""
NO_LOGIN = ("offline", "disabled", "dryrun")
"""Values of ``WANDB_MODE`` under which nothing is sent."""


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that could not be reported to, before anything is trained.

    Raises:
        SettingsError: an unknown name (with the nearest known one), one that is not installed, one that
            nobody is logged in to, or one whose store cannot be reached.
    """
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise SettingsError(
                f"report_to={name!r}: unknown{did_you_mean(name, list(INTEGRATION_TO_CALLBACK))}"
            )
        if not _installed(PACKAGES.get(name, name)):
            raise SettingsError(f"report_to={name}: {name} is not installed; install it (pip install {name})")
        try:
            {"wandb": _log_in_to_wandb, "mlflow": _reach_mlflow}.get(name, _nothing)()
        except Exception as error:  # each has errors of its own, and network errors beside
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise SettingsError(
                f"report_to={name}: cannot be reported to ({reason}); log in or correct its settings, or "
                "leave it out"
            ) from error


def reported_by_trainer(names: Sequence[str]) -> list[str]:
    """Names for the trainer's own ``report_to``."""
    return [name for name in names if name != OWN]


def run_name(output: Path) -> str:
    """What a tracker calls a training: the last two parts of its folder."""
    return "/".join(output.resolve().parts[-2:])


@contextmanager
def runs_ended(names: Sequence[str]) -> Iterator[None]:
    """End the trackers' runs that the training began, also where it fails: the next training has its own.

    A run that was active before stays so.
    """
    before = {name: _active(name) for name in names}
    failed = True
    try:
        yield
        failed = False
    finally:
        for name in names:
            if before[name] is None and _active(name) is not None:
                _end(name, failed=failed)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def _log_in_to_wandb() -> None:
    if os.environ.get("WANDB_MODE", "").lower() in NO_LOGIN:
        return
    import wandb

    if wandb.run is None and not wandb.login(verify=True):
        raise ValueError("nobody is logged in")


def _reach_mlflow() -> None:
    import mlflow

    mlflow.MlflowClient().search_experiments(max_results=1)


def _nothing() -> None:
    """Nothing to check of other trackers: their own errors come before the first step."""


def _active(name: str) -> Any:
    if name == "wandb":
        import wandb

        return wandb.run
    if name == "mlflow":
        import mlflow

        return mlflow.active_run()
    return None


def _end(name: str, *, failed: bool) -> None:
    if name == "wandb":
        import wandb

        wandb.finish(exit_code=int(failed))
    else:
        import mlflow

        mlflow.end_run("FAILED" if failed else "FINISHED")
