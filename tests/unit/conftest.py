"""Makes the checkout importable under the package's real name, here and in the processes tests start."""

import atexit
import os
import runpy
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

runpy.run_path(str(ROOT / "engine" / "launch.py"), run_name="launch")

_links = Path(tempfile.mkdtemp(prefix="cadastral-tests-"))
(_links / "cadastral_vectorizer").symlink_to(ROOT, target_is_directory=True)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_links), os.environ.get("PYTHONPATH", "")]))
atexit.register(shutil.rmtree, _links, ignore_errors=True)
