"""`python -m release <subcommand>`: one module of this package per subcommand.

The modules import what is heavy inside their functions, so that `--help` stays quick.
"""

from __future__ import annotations

from paper_repro.core.cli import run
from release.build import main as build
from release.diff import main as diff
from release.load import main as load
from release.push import push
from release.verify import main as verify

COMMANDS = {"build": build, "verify": verify, "push": push, "load": load, "diff": diff}


def main() -> None:
    """Build, verify, push, load and compare releases of distilled sets.

    Examples:
        python -m release build --out build/release
        python -m release verify build/release
        python -m release push build/release
        python -m release load cifar10-convnet-ipc1-zca-ls --source build/release
        python -m release diff build/old build/release
    """


if __name__ == "__main__":
    run(main, commands=COMMANDS)
