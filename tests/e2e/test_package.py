"""The plugin as it is published: packed by pb_tool, unpacked into a fresh profile, loaded by a real QGIS."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from support import ROOT

LIMIT_BYTES = 25_000_000
"""What the plugin repository takes."""
BLOCKED = {".pkl", ".pickle", ".pt", ".pth", ".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".pyc"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The zip that ``pb_tool zip`` makes of the files git knows."""
    pb_tool = Path(os.environ.get("CADASTRAL_TOOLS", ROOT / ".profile" / "tools")) / "bin" / "pb_tool"
    if not pb_tool.exists():
        pytest.skip("pb_tool is missing; run scripts/test")
    folder = tmp_path_factory.mktemp("package")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            target = folder / "checkout" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    done = subprocess.run(
        [str(pb_tool), "zip", "-q", "-n", "-p", str(folder / "deployed")],
        cwd=folder / "checkout",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ERROR" not in done.stdout, done.stdout
    return folder / "checkout" / "cadastral_vectorizer.zip"


def names_in(archive):
    with zipfile.ZipFile(archive) as opened:
        return [name for name in opened.namelist() if not name.endswith("/")]


def test_the_zip_holds_the_plugin_under_its_real_name_and_nothing_else(archive):
    names = names_in(archive)
    assert {name.split("/")[0] for name in names} == {"cadastral_vectorizer"}
    inside = {name.split("/", 1)[1] for name in names}
    assert {"__init__.py", "metadata.txt", "LICENSE", "engine/launch.py", "engine/requirements.txt"} <= inside
    assert {path.split("/")[0] for path in inside if "/" in path} == {
        "engine", "models", "plugin", "processing_provider", "resources",
    }  # fmt: skip
    assert not [path for path in inside if any(part.startswith(".") for part in path.split("/"))]


def test_the_zip_holds_nothing_the_plugin_repository_blocks(archive):
    names = names_in(archive)
    assert archive.stat().st_size < LIMIT_BYTES
    assert not [name for name in names if Path(name).suffix.lower() in BLOCKED]
    assert not [name for name in names if "__pycache__" in name]


def test_metadata_is_complete_and_its_files_exist(archive):
    with zipfile.ZipFile(archive) as opened:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(opened.read("cadastral_vectorizer/metadata.txt").decode())
        general = parser["general"]
        for key in ("name", "description", "about", "version", "author", "email", "tracker", "repository"):
            assert general[key].strip(), key
        assert general["hasProcessingProvider"] == "yes"
        assert general["qgisMinimumVersion"] == "3.22"
        assert f"cadastral_vectorizer/{general['icon']}" in opened.namelist()


def test_a_real_qgis_loads_the_unpacked_zip(archive, tmp_path):
    plugins = tmp_path / "profiles" / "default" / "python" / "plugins"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(plugins)
    binary = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    variables = {
        **os.environ,
        "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path),
        "QT_QPA_PLATFORM": "offscreen",
        "QGIS_OPTS": "",
    }

    def call(*arguments):
        return subprocess.run([binary, *arguments], capture_output=True, text=True, env=variables, check=True)

    call("plugins", "enable", "cadastral_vectorizer")
    assert "cadastral:vectorizebuildings" in call("list").stdout
    assert "One polygon per building" in call("help", "cadastral:vectorizebuildings").stdout
