"""Helpers of tests, demo and benchmarks."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "plpython"))  # this repository's rowseal, whatever is installed
