#!/usr/bin/env python3
"""Print environment.yml, for conda users, from the pins of requirements.lock.

python .ci/environment_yml.py > environment.yml
"""

import re
from pathlib import Path

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


def pins(lock: str) -> dict[str, str]:
    """Name -> version, in the order of the lock."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.MULTILINE))


def environment(lock: str) -> str:
    """The text of environment.yml."""
    found = pins(lock)
    apart = f"{WITHOUT_DEPENDENCIES}=={found.pop(WITHOUT_DEPENDENCIES)}"
    command = f"pip install --no-deps {apart} && pip install --no-deps -e ."
    listed = "".join(f"      - {name}=={version}\n" for name, version in found.items())
    return HEAD.format(command=command) + listed + f"# then: {command}\n"


if __name__ == "__main__":
    print(environment((ROOT / "requirements.lock").read_text()), end="")
