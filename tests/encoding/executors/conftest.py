"""Puts ``stub_encoder``, which several rooms share, where their tests can import it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent.parent))
