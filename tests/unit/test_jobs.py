"""Every job names a function that exists and takes a configuration and a reporter."""

import importlib
import inspect

import pytest
from cadastral_vectorizer.engine.config import Config
from cadastral_vectorizer.engine.errors import InvalidParameter
from cadastral_vectorizer.engine.jobs import JOBS


@pytest.mark.parametrize("name", JOBS)
def test_job_can_be_found_and_called(name):
    module, function = JOBS[name].work.split(":")
    work = getattr(importlib.import_module(f"cadastral_vectorizer.engine.{module}"), function)
    assert list(inspect.signature(work).parameters)[:2] == ["config", "reporter"]
    assert issubclass(JOBS[name].config, Config) and JOBS[name].help


@pytest.mark.parametrize("name", JOBS)
def test_job_refuses_parameters_it_does_not_know(name):
    with pytest.raises(InvalidParameter, match="Unknown parameter"):
        JOBS[name].config.from_dict({"no_such_parameter": 1})
