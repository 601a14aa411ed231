"""Makes the checkout importable under the package's real name, as the engine itself does it."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).resolve().parents[2] / "engine" / "launch.py"), run_name="launch")
