"""Puts the rounds of kill, and what several rooms share, where the tests can import them."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
