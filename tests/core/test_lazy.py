"""Late imports: when a module is imported, and what a package exports."""

import json
import subprocess
import sys

import pytest

from paper_repro.core import lazy


def test_a_module_is_imported_when_an_attribute_is_read():
    code = """
import sys
from paper_repro.core import lazy
late = lazy.module("this")
assert "this" not in sys.modules, repr(late)
late.d
assert "this" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_attributes_are_those_of_the_module():
    late = lazy.module("json")
    assert late.dumps is json.dumps and "json" in repr(late)
    with pytest.raises(ModuleNotFoundError):
        _ = lazy.module("no_such_module_at_all").x


def test_a_package_exports_names_late():
    get, listed, names = lazy.exports("shapes", {"sqrt": "math", "dumps": "json"})
    assert get("dumps") is json.dumps
    assert listed() == names == ["dumps", "sqrt"]
    with pytest.raises(AttributeError, match="module 'shapes' has no attribute 'area'"):
        get("area")


@pytest.mark.parametrize("module", ["release", "paper_repro.evaluate", "paper_repro.distill"])
def test_help_does_not_wait_for_jax_or_datasets(module):
    code = f"""
import runpy, sys
sys.argv = [{module!r}, "--help"]
try:
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
except SystemExit:
    pass
slow = {{"jax", "numba", "datasets", "matplotlib", "huggingface_hub.hf_api"}} & set(sys.modules)
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
