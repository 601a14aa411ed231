"""The engine's environment: found or explained, never taken for complete when it is half-made."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from qgis.core import QgsProcessingContext, QgsProcessingException, QgsProcessingFeedback


@pytest.fixture
def environment(provider, tmp_path):
    """An environment that does not exist yet."""
    from cadastral_vectorizer.plugin.environment import Environment

    return Environment(tmp_path / "environment")


def test_every_algorithm_but_the_setup_says_what_to_run_without_environment(provider, monkeypatch, tmp_path):
    from cadastral_vectorizer.processing_provider import algorithm as module

    monkeypatch.setattr(module, "profile_folder", lambda: tmp_path)
    layer = "Polygon?crs=EPSG:32633"
    given = dict.fromkeys(("INPUT", "REFERENCE", "CADASTRE"), layer)
    given |= dict.fromkeys(("OUTPUT", "OUTLINES"), "TEMPORARY_OUTPUT")
    for algorithm in provider.algorithms():
        instance = algorithm.create()
        if algorithm.name() == "setupenvironment":
            assert instance.checkParameterValues({}, QgsProcessingContext())[0]
            continue
        with pytest.raises(Exception, match="not set up. Run 'Set up the environment'") as caught:
            instance.run_engine("probe", None, QgsProcessingFeedback())
        ok, message = instance.checkParameterValues(given, QgsProcessingContext())
        assert not ok
        if "Could not load" not in message and "INPUT" not in message:  # rasters are missing before the environment is
            assert message == str(caught.value)
            assert message.count(". ") == 1


def test_a_half_made_environment_is_not_ready(environment):
    environment.python.parent.mkdir(parents=True)
    environment.python.symlink_to(sys.executable)
    assert not environment.is_ready()
    environment.marker.write_text("{ cut off")
    assert not environment.is_ready()


def test_an_environment_of_another_version_is_named_so(environment):
    from cadastral_vectorizer.engine.errors import EngineEnvironmentError

    environment.python.parent.mkdir(parents=True)
    environment.python.symlink_to(sys.executable)
    environment.marker.write_text('{"requirements": "0123"}')
    with pytest.raises(EngineEnvironmentError, match="another version"):
        environment.require()


def test_comments_in_the_requirements_do_not_outdate_an_environment(provider, tmp_path, monkeypatch):
    from cadastral_vectorizer.plugin import environment as module

    before = module.requirements_hash()
    text = module.REQUIREMENTS.read_text()
    copy = tmp_path / "requirements.txt"
    monkeypatch.setattr(module, "REQUIREMENTS", copy)
    copy.write_text("# another comment\r\n" + text.replace("\n", "\r\n"), newline="")
    assert module.requirements_hash() == before
    copy.write_text(text + "another-package==1.0\n")
    assert module.requirements_hash() != before


def test_requirements_are_pinned_and_explained(provider):
    from cadastral_vectorizer.plugin.environment import REQUIREMENTS

    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) > 5
    for line in lines:
        requirement, _, reason = line.partition("#")
        assert requirement.count("==") == 1, line
        assert reason.strip(), line
    assert not any(line.startswith("torch==2.13.0") for line in lines)


def test_a_python_is_found_that_can_make_environments(provider):
    from cadastral_vectorizer.plugin.environment import SUPPORTED, find_python

    found = subprocess.run(
        [find_python(), "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert SUPPORTED[0] <= tuple(map(int, found.stdout.split())) <= SUPPORTED[1]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo 3 8 1", "is Python 3.8"),
        ("echo 3 99 1", "is Python 3.99"),
        ("echo 3 12 0", "is a 32-bit Python"),
        ("echo QGIS 3.40 starts", "does not start"),
        ("echo \"ModuleNotFoundError: No module named 'ensurepip'\" >&2; exit 1", "has no venv or ensurepip"),
        ("exit 3", "does not start"),
    ],
)
def test_a_python_that_will_not_do_is_refused_with_the_reason(provider, tmp_path, body, reason):
    from cadastral_vectorizer.engine.errors import EngineEnvironmentError
    from cadastral_vectorizer.plugin.environment import find_python

    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\n{body}\n")
    python.chmod(0o755)
    with pytest.raises(EngineEnvironmentError) as caught:
        find_python(str(python))
    assert f"{python} ({reason})" in str(caught.value)
    assert "python3-venv" in str(caught.value)


def test_a_wheel_that_is_missing_is_named_and_leaves_no_complete_environment(environment, tmp_path, monkeypatch):
    from cadastral_vectorizer.engine.errors import EngineEnvironmentError

    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "wheels").mkdir()
    with pytest.raises(EngineEnvironmentError, match="torch.*folder of wheels"):
        environment.make(QgsProcessingFeedback(), wheels=str(tmp_path / "wheels"))
    assert environment.python.exists()
    assert not environment.is_ready()


def test_a_folder_of_wheels_that_does_not_exist_is_refused(environment, tmp_path):
    from cadastral_vectorizer.engine.errors import EngineEnvironmentError

    with pytest.raises(EngineEnvironmentError, match="no folder"):
        environment.make(QgsProcessingFeedback(), wheels=str(tmp_path / "wheels"))
    assert not environment.folder.exists()


def test_cancelling_the_installation_leaves_no_complete_environment(environment):
    from cadastral_vectorizer.engine.errors import Cancelled

    feedback = QgsProcessingFeedback()
    feedback.cancel()
    with pytest.raises(Cancelled):
        environment.make(feedback)
    assert not environment.is_ready()


def test_an_environment_that_is_up_to_date_is_described_without_installing(engine, run):
    marker = engine.python.parent.parent / "pyvenv.cfg"
    before = marker.stat().st_mtime_ns
    result = run("setupenvironment", {})
    assert marker.stat().st_mtime_ns == before
    assert "torch" in result["VERSIONS"]
    assert "cpu" in result["DEVICES"]
    assert result["PYTHON_VERSION"].startswith("3.")


def test_an_environment_that_stopped_working_is_made_anew_next_time(environment, tmp_path):
    """Its Python dies at once: the marker goes, so that the next call starts anew."""
    from cadastral_vectorizer.engine.errors import EngineError
    from cadastral_vectorizer.plugin.environment import requirements_hash

    environment.python.parent.mkdir(parents=True)
    environment.python.write_text("#!/bin/sh\necho 'libtorch.so: cannot open' >&2\nexit 1\n")
    environment.python.chmod(0o755)
    environment.marker.write_text(f'{{"requirements": "{requirements_hash()}"}}')
    with pytest.raises(EngineError, match="libtorch.so"):
        environment.make(QgsProcessingFeedback())
    assert not environment.is_ready()


def test_the_given_python_is_the_one_that_is_tried(run, tmp_path, provider, monkeypatch):
    from cadastral_vectorizer.processing_provider import algorithm as module

    monkeypatch.setattr(module, "profile_folder", lambda: tmp_path)
    python = str(tmp_path / "no-python")
    shutil.copy(Path("/bin/true").resolve(), python)
    with pytest.raises(QgsProcessingException, match="no-python .does not start."):
        run("setupenvironment", {"PYTHON": python})
