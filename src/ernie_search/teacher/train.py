"""Teachers trained in one folder: started, gone on with, or found done, by the same call."""

from pathlib import Path

import sentence_transformers
import torch
import transformers

from ernie_search._util.files import read_json, write_json
from ernie_search.data import Collection
from ernie_search.errors import DataError, StorageError
from ernie_search.mining.lists import Lists
from ernie_search.teacher.run import MODEL_FOLDER, TeacherRun
from ernie_search.teacher.settings import TeacherSettings
from ernie_search.teacher.teachers import FORMAT, TEACHERS_FILE, Teachers
from ernie_search.training.folder import RESULT_FILE, RUN_FILE, claimed_precision
from ernie_search.training.trainer import Observer


def train_teachers(
    collection: Collection,
    lists: Lists,
    output: Path,
    settings: TeacherSettings,
    observer: Observer | None = None,
    *,
    split: str = "train",
) -> Teachers:
    """Train ``settings.folds`` cross-encoders listwise, or go on where the same call stopped.

    Args:
        collection: that the lists were mined from.
        lists: a positive and the negatives of each training question; their scores are not read.
        output: gets ``teacher-0/``, ``teacher-1/``, ... (each with its plain CrossEncoder directory
            ``model/``, checkpoints and log), ``run.json``, and at the end ``teachers.json``.
        settings: what to train.
        observer: told of every event: those of :mod:`ernie_search.training.trainer`, before each teacher
            ``teacher`` with ``number`` and ``teachers``, and ``held_out`` in place of ``dev``.
        split: of the lists' questions.

    Raises:
        TrainingError: the folder holds another run; the loss is no number; a fold has too few lists.
        DataError: the lists are of another corpus, or name what the collection lacks.
        SettingsError, ModelError, StorageError: see there.
    """
    settings.check()
    check_same_data(lists, collection)
    identity = {
        "format": FORMAT,  # of the folds: a run that another version began is not gone on with
        "settings": settings.model_dump(),
        "collection": collection.fingerprint,
        "lists": lists.fingerprint,
        "split": split,
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "sentence_transformers": sentence_transformers.__version__,
        },
    }
    output = Path(output)
    precision = claimed_precision(output, identity, settings.precision)
    if (output / TEACHERS_FILE).is_file():
        return Teachers.open(output)
    chosen = settings.model_copy(update={"precision": precision})
    observer = observer or (lambda event, values: None)
    found = []
    for number in range(settings.folds):
        folder = output / f"teacher-{number}"
        if not (folder / RESULT_FILE).is_file():
            observer("teacher", {"number": number, "teachers": settings.folds})
            one = TeacherRun(number, folder, chosen, collection, lists, split, observer)
            # Only now, as nothing was refused: bad input leaves no mark that the mended one would contradict.
            if not (output / RUN_FILE).is_file():
                write_json(output / RUN_FILE, identity | {"precision": precision})
            one.train()
        result = read_json(folder / RESULT_FILE)
        if not isinstance(result, dict) or not isinstance(result.get("fingerprint"), str):
            raise StorageError(
                f"{folder / RESULT_FILE}: does not say which teacher this is; delete {folder} and run again"
            )
        found.append(result | {"model": f"{folder.name}/{MODEL_FOLDER}"})
    about = {"format": FORMAT, "collection": collection.fingerprint, "lists": lists.fingerprint}
    write_json(output / TEACHERS_FILE, about | {"precision": precision, "teachers": found})
    return Teachers.open(output)


def check_same_data(lists: Lists, collection: Collection) -> None:
    """Refuse lists of another corpus.

    Raises:
        DataError: their data fingerprints differ.
    """
    if lists.data_fingerprint != collection.fingerprint:
        raise DataError(
            f"{lists.folder}: lists of data {lists.data_fingerprint}, {collection.source} is "
            f"{collection.fingerprint}; name the collection that they were mined from, or mine again"
        )
