#!/usr/bin/env python3
"""Print environment.yml, for conda users, from the pins of requirements.lock.

python .ci/environment_yml.py > environment.yml
"""

import re
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parents[1]
# Its declared needs include TensorFlow, and conda's pip section cannot leave those out.
WITHOUT_DEPENDENCIES = "neural-tangents"

HEAD = """\
# Made from requirements.lock by .ci/environment_yml.py; do not edit.
#
#   conda env create -f environment.yml && conda activate kip-repro
#   {command}
#
# The second line is needed because neural-tangents declares TensorFlow, which nothing here uses,
# and because this section of the file cannot pass --no-deps.
name: kip-repro
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
"""


PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?: ; (.*?))? \\$", re.MULTILINE)
"""Name, version and marker of a pin."""


def pins(lock: str, python: str = "3.11") -> dict[str, str]:
    """Name -> version for Linux on x86-64 and a version of Python, in the order of the lock."""
    where = {
        "python_version": python,
        "python_full_version": f"{python}.7",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found = PIN.findall(lock)
    return {n: v for n, v, marker in found if not marker or Marker(marker).evaluate(where)}


def environment(lock: str) -> str:
    """The text of environment.yml."""
    found = pins(lock)
    apart = f"{WITHOUT_DEPENDENCIES}=={found.pop(WITHOUT_DEPENDENCIES)}"
    command = f"pip install --no-deps {apart} && pip install --no-deps -e ."
    listed = "".join(f"      - {name}=={version}\n" for name, version in found.items())
    return HEAD.format(command=command) + listed + f"# then: {command}\n"


if __name__ == "__main__":
    print(environment((ROOT / "requirements.lock").read_text()), end="")
