"""The joint encoder: one pass gives the single vector and the token matrix."""

from ernie_search.model.encode import Encoded
from ernie_search.model.export import export_multi_vector
from ernie_search.model.joint import JointEncoder, from_base, load
from ernie_search.model.output import EncoderOutput
from ernie_search.runtime.places import BUNDLED, bundled_base
from ernie_search.runtime.settings import ScoreSettings

__all__ = [
    "BUNDLED",
    "Encoded",
    "EncoderOutput",
    "JointEncoder",
    "ScoreSettings",
    "bundled_base",
    "export_multi_vector",
    "from_base",
    "load",
]
