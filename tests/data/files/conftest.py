"""For the files that tests write by hand."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
