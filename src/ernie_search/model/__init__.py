"""Encoders in torch: one pass gives the single vector and the token matrix."""

from ernie_search.model.adopt import adopt
from ernie_search.model.beginning import fit_start
from ernie_search.model.export import export_multi_vector
from ernie_search.model.joint import JointEncoder, from_base, load_joint
from ernie_search.model.late import LateEncoder
from ernie_search.model.loading import AnyEncoder, load
from ernie_search.model.onnx import export_onnx
from ernie_search.model.output import EncoderOutput
from ernie_search.model.plain import PlainEncoder
from ernie_search.runtime.batches import Encoded
from ernie_search.runtime.places import BUNDLED, bundled_base
from ernie_search.runtime.settings import ScoreSettings

__all__ = [
    "BUNDLED",
    "AnyEncoder",
    "Encoded",
    "EncoderOutput",
    "JointEncoder",
    "LateEncoder",
    "PlainEncoder",
    "ScoreSettings",
    "adopt",
    "bundled_base",
    "export_multi_vector",
    "export_onnx",
    "fit_start",
    "from_base",
    "load",
    "load_joint",
]
