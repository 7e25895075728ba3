import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
RUN_LOCK = (ROOT / "requirements-run.lock").read_text()


def pins_of(lock):
    """Name, version and marker of every pin of a lock."""
    return re.findall(r"^([\w.-]+)==([^\s\\;]+)(?: ; (.*?))? \\$", lock, re.MULTILINE)


def pins_here(lock):
    """Those for this machine; a lock has others for other systems and versions of Python."""
    return {n: v for n, v, marker in pins_of(lock) if not marker or Marker(marker).evaluate()}


PINS = pins_here(LOCK)
NOT_LOCKED = {"torch", "cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-cuda-nvdisasm"}


def requirements(*extras):
    """Declared dependencies with those of `extras`."""
    declared = list(PROJECT["dependencies"])
    for extra in extras or PROJECT["optional-dependencies"]:
        declared += PROJECT["optional-dependencies"][extra]
    return [Requirement(text) for text in declared]


def modules_after(statement):
    """Top-level names of the modules that a fresh interpreter holds after `statement`."""
    code = f"{statement}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_cache_of_compiled_programs_of_the_tests_is_one_that_jax_knows():
    # JAX ignores the names of variables that it does not know.
    import jax

    assert jax.config.jax_compilation_cache_dir == os.environ["JAX_COMPILATION_CACHE_DIR"]
    seconds = float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
    assert jax.config.jax_persistent_cache_min_compile_time_secs == seconds


@pytest.mark.parametrize("lock, fewest", [(LOCK, 120), (RUN_LOCK, 40)])
def test_every_line_of_a_lock_is_an_exact_pin_with_a_hash(lock, fewest):
    blocks = re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)
    blocks = [block for block in blocks if block.strip()]
    assert len(blocks) == len(pins_of(lock)) >= len(pins_here(lock)) > fewest
    for block in blocks:
        assert "--hash=sha256:" in block


def test_the_lock_of_the_runs_is_a_part_of_the_whole_lock():
    run, whole = pins_of(RUN_LOCK), pins_of(LOCK)
    versions = {(name, version) for name, version, _ in whole}
    assert {(name, version) for name, version, _ in run} <= versions
    assert len(run) < len(whole) / 2


@pytest.mark.parametrize("lock, extras", [(LOCK, ()), (RUN_LOCK, ("oracle", "build"))])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize(
    "system, machine", [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]
)
def test_a_lock_has_one_pin_a_package_wherever_people_are(python, system, machine, lock, extras):
    where = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": system,
        "platform_system": {"linux": "Linux", "darwin": "Darwin"}[system],
        "platform_machine": machine,
        "os_name": "posix",
    }
    names = [n for n, _, marker in pins_of(lock) if not marker or Marker(marker).evaluate(where)]
    assert len(names) == len(set(names))
    declared = {canonicalize_name(r.name) for r in requirements(*extras)}
    wanted = declared - NOT_LOCKED
    assert wanted <= set(names)


def test_every_declared_dependency_is_locked_within_its_bounds():
    for requirement in requirements():
        if requirement.name in NOT_LOCKED:
            continue
        assert requirement.specifier.contains(PINS[requirement.name]), requirement


def test_what_is_installed_is_what_is_locked():
    for name, version in PINS.items():
        assert metadata.version(name) == version


def test_conda_gets_exactly_the_pins_of_the_lock():
    file = (ROOT / "environment.yml").read_text()
    environment = yaml.safe_load(file)
    assert environment["name"] == "kip-repro"
    assert environment["channels"] == ["conda-forge"]
    python, pip, section = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    expected = {f"{n}=={v}" for n, v in PINS.items() if n != "neural-tangents"}
    assert set(section["pip"]) == expected and len(section["pip"]) == len(expected)
    apart = f"pip install --no-deps neural-tangents=={PINS['neural-tangents']}"
    assert f"{apart} && pip install --no-deps -e ." in file


def test_the_conda_file_is_what_its_generator_prints():
    command = [sys.executable, ROOT / ".ci" / "environment_yml.py"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "environment.yml").read_text() == printed


def test_nothing_locked_needs_tensorflow_or_torch():
    assert not [name for name in PINS if name.startswith(("tensorflow", "torch", "tf-"))]


@pytest.mark.parametrize("pins", [PINS, pins_here(RUN_LOCK)], ids=["all", "run"])
def test_every_need_of_the_locked_packages_is_locked(pins):
    """A lock is installed without resolving, so it has to be complete by itself."""
    missing = {}
    for name in pins:
        if name == "neural-tangents":  # its TensorFlow is left out on purpose
            continue
        for text in metadata.requires(name) or ():
            need = Requirement(text)
            if need.marker is not None and not need.marker.evaluate({"extra": ""}):
                continue
            pin = pins.get(canonicalize_name(need.name))
            if pin is None or not need.specifier.contains(pin, prereleases=True):
                missing[name] = text
    assert missing == {}


def test_python_3_11_is_the_oldest_that_will_do():
    assert PROJECT["requires-python"] == ">=3.11"


@pytest.mark.parametrize("name", ["jax", "jaxlib"])
def test_jax_0_10_and_0_11_are_allowed_and_nothing_else(name):
    (requirement,) = [r for r in requirements() if r.name == name]
    for version in ("0.10.0", "0.10.2", "0.11.0", "0.11.9"):
        assert requirement.specifier.contains(version)
    for version in ("0.9.2", "0.4.30", "0.12.0", "1.0"):
        assert not requirement.specifier.contains(version)
    assert Version(PINS[name]) >= Version("0.10.2")


def test_torch_is_an_extra_with_one_version():
    assert PROJECT["optional-dependencies"]["torch"] == ["torch==2.13.0"]
    assert not [r for r in requirements("test", "oracle", "notebook") if r.name == "torch"]


def test_the_neural_tangents_backend_works_without_tensorflow():
    loaded = modules_after(
        "from paper_repro.core.kernels.neural_tangents import load_stax\n"
        "stax = load_stax()\n"
        "init, apply, kernel_fn = stax.serial(stax.Dense(1), stax.Relu(), stax.Dense(1))\n"
        "import numpy as np\n"
        "assert kernel_fn(np.ones((2, 3)), None, 'ntk').shape == (2, 2)"
    )
    assert "jax" in loaded
    assert not {name for name in loaded if name.startswith(("tensorflow", "torch", "tf2jax"))}


def test_the_main_job_does_not_import_torch_or_tensorflow():
    loaded = modules_after(
        "import paper_repro.core, paper_repro.table_cheap_kernels\n"
        "from paper_repro.core.runs import export, gallery, runner, scorers"
    )
    assert not loaded & {"torch", "tensorflow", "neural_tangents"}


def test_the_front_of_a_command_line_does_not_import_jax():
    loaded = modules_after("import paper_repro.core, paper_repro.table_cheap_kernels")
    assert not loaded & {"jax", "numba", "datasets", "matplotlib", "torch", "tensorflow"}


def test_installed_and_cited_versions_are_that_of_the_project():
    assert metadata.version(PROJECT["name"]) == PROJECT["version"]
    assert cited()["version"] == PROJECT["version"]


def cited():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_the_citation_names_license_maintainers_and_both_papers():
    citation = cited()
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert citation["authors"] == [{"name": "The kip-repro maintainers"}]
    papers = {r["identifiers"][0]["value"]: r for r in citation["references"]}
    assert papers.keys() == {"arXiv:2107.13034", "arXiv:2011.00050"}
    names = [author["family-names"] for author in papers["arXiv:2107.13034"]["authors"]]
    assert names == ["Nguyen", "Novak", "Xiao", "Lee"]
    names = [author["family-names"] for author in papers["arXiv:2011.00050"]["authors"]]
    assert names == ["Nguyen", "Chen", "Lee"]
    assert {paper["year"] for paper in papers.values()} == {2021}


def test_the_license_is_the_whole_apache_license():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
