"""Released distilled sets: build, verify, push, load and compare them.

    python -m release build --out build/release
    python -m release verify build/release
    python -m release push build/release
    python -m release load cifar10-convnet-ipc10-zca-learned-noaug --source build/release
    python -m release diff build/old build/release

The same as functions: `release.build`, `release.verify`, `release.load`, `release.diff`,
`release.up_to_date`.
"""

from release.build import build
from release.diff import Difference, diff, up_to_date
from release.load import DistilledSet, load
from release.verify import ReleaseProblems, verify

__all__ = [
    "Difference",
    "DistilledSet",
    "ReleaseProblems",
    "build",
    "diff",
    "load",
    "up_to_date",
    "verify",
]
