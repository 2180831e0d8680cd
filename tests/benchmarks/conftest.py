"""The benchmarks are no installed package: they are imported from the checkout's root."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent.parent))
