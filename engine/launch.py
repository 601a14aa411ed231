"""Starts the engine from wherever the plugin lies, whatever its folder is called.

``python -I -X utf8 engine/launch.py <command> ...`` registers the folder above as the package
``cadastral_vectorizer`` without putting it on ``sys.path`` (its ``models`` and ``tests`` would become
global names there), then runs the command line. The registration happens on import, too: worker
processes started with the ``spawn`` method import this file under another name.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PACKAGE = "cadastral_vectorizer"


def register_package(root: Path) -> None:
    """Make `root` importable as ``cadastral_vectorizer``; does nothing when that name is taken."""
    if PACKAGE in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        PACKAGE, root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None and spec.loader is not None  # noqa: S101  (a .py path always has a loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


register_package(Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    from cadastral_vectorizer.engine.cli import main

    sys.exit(main())
