"""Packs generated scenes of every style into a chip folder.

    python benchmarks/pack_scene_chips.py chips/scenes 120
"""

from __future__ import annotations

import sys

from cadastral_vectorizer.engine.progress import ConsoleReporter
from cadastral_vectorizer.engine.scene_chips import write_scene_chips

if __name__ == "__main__":
    write_scene_chips(sys.argv[1], int(sys.argv[2]), seed=1, reporter=ConsoleReporter(), by_style=True)
