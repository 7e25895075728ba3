"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import paper_repro
import release
from paper_repro.core.data import write_own

NAMES = ("fitted", "kip", "krr", "label_solve", "load_dataset", "network_kernel")


def modules():
    for package in (paper_repro, release):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield found.name


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in modules():
        module = importlib.import_module(name)
        yield from (t for t in finder.find(module, name, module) if t.examples)


EXAMPLES = {example.name: example for example in examples()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 4, 4, 1), dtype=np.uint8)
    write_own(tmp_path / "dots.npz", images, np.arange(40) % 2)
    example = EXAMPLES[name]
    public = {public: getattr(paper_repro, public) for public in NAMES}
    example.globs = {**public, **example.globs, "np": np, "tmp_path": tmp_path}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    printed = []
    runner.run(example, out=printed.append)
    assert not runner.failures, "".join(printed)


@pytest.mark.parametrize("name", paper_repro.__all__)
def test_every_public_name_has_an_example(name):
    public = getattr(paper_repro, name)
    documented = public.evaluate if name == "evaluate" else public
    assert ">>> " in documented.__doc__


def test_names_are_the_same_before_and_after_their_modules_are_imported():
    first = paper_repro.evaluate
    importlib.import_module("paper_repro.evaluate")
    assert paper_repro.evaluate is first and callable(first)
    assert sorted(paper_repro.__all__) == sorted({*NAMES, "evaluate"})
