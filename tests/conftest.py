"""What holds for all tests: the order of the files, and one cache of compiled JAX programs."""

import os
from pathlib import Path

import pytest

LONG = (
    "test_ray_pool.py",
    "test_notebooks.py",
    "test_gpu_session.py",
    "test_table1_comparison.py",
    "test_stopping.py",
    "test_transfer.py",
    "test_network_training.py",
    "test_table_a3_ablation.py",
    "test_network_kernel_properties.py",
)
"""Files that take a minute or so come first, so that no worker ends alone with one."""

# Compiling takes most of the time of many tests, and many processes compile the same programs:
# the workers, the commands that tests start, the next call. JAX reads these when it is imported.
_ENVIRONMENT = {
    "JAX_COMPILATION_CACHE_DIR": str(Path(__file__).parents[1] / ".pytest_cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
# Tests run side by side: two threads of PyTorch would wait for one another's core.
_ENVIRONMENT["OMP_NUM_THREADS"] = "1"
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="module")
def no_pictures():
    """See `commands.without_pictures`."""
    import commands  # it imports JAX, which reads the names above

    with commands.without_pictures():
        yield
