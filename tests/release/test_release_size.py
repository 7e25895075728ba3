"""The largest sets of the papers, 500 and 1,000 images, build and verify in bounded memory.

Twelve seconds of CPU time at most for each step, on two cores of an AMD EPYC.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from distilled_sets import write_index, write_set

from paper_repro.core.data import load_dataset
from paper_repro.core.errors import UserError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
NAMES = {
    "cifar10-fc1-ipc50-zca-learned-noaug": ("cifar10", 50, True),
    "cifar100-fc1-ipc10-standard-learned-noaug": ("cifar100", 10, False),
}
GIGABYTE_KB = 10**9 // 1024

MEASURED = """
import re, time
import release
{call}
# Not ru_maxrss, which a child inherits from the process that started it.
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], time.process_time())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("name", NAMES)
def test_memory(name, tmp_path, record_property):
    dataset, per_class, zca = NAMES[name]
    data_dir = SHARED if dataset == "cifar100" else None
    if data_dir is not None and not (data_dir / f"{dataset}.npz").exists():
        pytest.skip("CIFAR-100 is not at hand")
    try:
        load_dataset(dataset, data_dir)
    except UserError as error:
        pytest.skip(f"{dataset} is not at hand: {error}")
    sets = tmp_path / "checkpoints"
    write_set(sets, data_dir, name, per_class, zca, True, dataset, scored=False)
    write_index(sets, [name])
    out = tmp_path / "release"
    where = None if data_dir is None else str(data_dir)
    for step, call in (
        ("build", f"release.build({str(out)!r}, checkpoints={str(sets)!r}, data_dir={where!r})"),
        ("verify", f"release.verify({str(out)!r}, {str(sets)!r})"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED.format(call=call)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        peak_kb, seconds = map(float, done.stdout.split())
        record_property(f"{step}_peak_mb", round(peak_kb / 1024))
        record_property(f"{step}_cpu_seconds", round(seconds, 1))
        print(f"{name} {step}: {peak_kb / 1024:.0f} MB, {seconds:.1f} s of CPU time")
        assert peak_kb < GIGABYTE_KB
    assert len(np.load(out / "npz" / f"{name}.npz")["images"]) in (500, 1000)
