"""Training of the joint encoder: batches as a function of the seed, the step, checkpoints, resume."""

from ernie_search.training.folder import TrainResult
from ernie_search.training.prepare import TrainingData, prepare
from ernie_search.training.run import train
from ernie_search.training.settings import TrainSettings, parse_settings

__all__ = ["TrainResult", "TrainSettings", "TrainingData", "parse_settings", "prepare", "train"]
