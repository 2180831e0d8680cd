"""The way to the definitions that the losses are tested against."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))
