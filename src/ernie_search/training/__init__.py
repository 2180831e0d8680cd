"""Training of the joint encoder: data, batches, the step and its losses, checkpoints, resuming."""

from ernie_search.training.folder import TrainResult
from ernie_search.training.joint import train
from ernie_search.training.prepare import TrainingData, prepare
from ernie_search.training.settings import TrainSettings, parse_settings

__all__ = ["TrainResult", "TrainSettings", "TrainingData", "parse_settings", "prepare", "train"]
