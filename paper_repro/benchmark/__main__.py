"""`python -m paper_repro.benchmark <subcommand>`: one module of this package per subcommand.

The modules load what is heavy when it is used (`core.lazy`), so that `--help` stays quick.
"""

from __future__ import annotations

from paper_repro.benchmark.cluster import cluster
from paper_repro.benchmark.fc import fc
from paper_repro.benchmark.kernel import kernel
from paper_repro.benchmark.labels import labels
from paper_repro.benchmark.matching import matching
from paper_repro.benchmark.static import static
from paper_repro.benchmark.step import step
from paper_repro.benchmark.transfer import transfer
from paper_repro.core.cli import run

COMMANDS = {
    "kernel": kernel,
    "fc": fc,
    "step": step,
    "labels": labels,
    "transfer": transfer,
    "matching": matching,
    "cluster": cluster,
    "static": static,
}


def main() -> None:
    """Measure kernels against neural-tangents, networks against PyTorch, float32 against float64.

    Examples:
        python -m paper_repro.benchmark kernel --quick
        python -m paper_repro.benchmark kernel --json > benchmark.json
        python -m paper_repro.benchmark fc
        python -m paper_repro.benchmark step
        python -m paper_repro.benchmark labels
        python -m paper_repro.benchmark transfer
        python -m paper_repro.benchmark matching
        python -m paper_repro.benchmark cluster
        python -m paper_repro.benchmark static
    """


if __name__ == "__main__":
    run(main, commands=COMMANDS)
