"""The commands of docs/tutorial.md, in their order, as they stand there."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from support import ENVIRONMENT, ROOT

BLOCKS = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)
LEFT = ("buildings", "matches", "changes", "refined", "squared", "again", "town_buildings", "drawn_buildings")


@pytest.mark.slow
@pytest.mark.skipif(not ENVIRONMENT.exists(), reason="the engine's environment is missing; run scripts/test")
def test_every_command_of_the_tutorial_does_what_it_says(tmp_path):
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    assert len(BLOCKS) == 8
    for block in BLOCKS:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stderr[-2000:]}"
    for name in LEFT:
        assert (tmp_path / "tutorial" / f"{name}.gpkg").stat().st_size > 50_000, name
    assert (tmp_path / "tutorial" / "town.zip").exists()
    for report in ("report.html", "training.html"):
        assert "<html" in (tmp_path / "tutorial" / report).read_text(encoding="utf-8")
