"""The errors that this package raises on purpose: each says what, where and what to do, in one line."""


class ErnieSearchError(Exception):
    """Base of all expected failures. The command line prints its message and exits with code 2."""


class DataError(ErnieSearchError):
    """A collection, qrels or run file that cannot be read as what it claims to be."""


class SettingsError(ErnieSearchError):
    """A setting that is unknown, of the wrong type, or impossible together with another."""


class ModelError(ErnieSearchError):
    """A model directory that is missing, incomplete, or does not fit its use."""


class TrainingError(ErnieSearchError):
    """Training that cannot start, or had to stop."""


class IndexStateError(ErnieSearchError):
    """An index or a folder of shards that is missing, incomplete, or of another model."""


class EvaluationError(ErnieSearchError):
    """Runs or qrels that cannot be measured or compared."""


class StorageError(ErnieSearchError):
    """The disk refused: full, read-only, or not permitted."""


class ExecutorError(ErnieSearchError):
    """A Ray cluster that does not answer, or that lost a piece of work more often than it is tried again."""


class ServiceError(ErnieSearchError):
    """A service over HTTP that does not answer, or that refuses what is asked."""
