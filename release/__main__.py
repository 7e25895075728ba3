"""`python -m release <subcommand>`: one module of this package per subcommand.

The modules import what is heavy inside their functions, so that `--help` stays quick.
"""

from __future__ import annotations

from typing import Annotated, Any

import tyro

from paper_repro.core.cli import later, run
from release.build import main as build
from release.diff import main as diff
from release.load import main as load
from release.push import push
from release.verify import main as verify

Command = (
    Annotated[Any, tyro.conf.subcommand("build", constructor=later(build))]
    | Annotated[Any, tyro.conf.subcommand("verify", constructor=later(verify))]
    | Annotated[Any, tyro.conf.subcommand("push", constructor=later(push))]
    | Annotated[Any, tyro.conf.subcommand("load", constructor=later(load))]
    | Annotated[Any, tyro.conf.subcommand("diff", constructor=later(diff))]
)


def main(command: Annotated[Command, tyro.conf.arg(name="")]) -> None:
    """Build, verify, push, load and compare releases of distilled sets.

    Examples:
        python -m release build --out build/release
        python -m release verify build/release
        python -m release push build/release
        python -m release load cifar10-convnet-ipc1-zca-ls --source build/release
        python -m release diff build/old build/release
    """
    command()


if __name__ == "__main__":
    run(main)
