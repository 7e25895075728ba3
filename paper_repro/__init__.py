"""Reproduction of *Dataset Distillation with Infinitely Wide Convolutional Networks*.

Nguyen, Novak, Xiao and Lee, arXiv 2107.13034 (KIP and Label Solve with the ConvNet NTK), and
the earlier arXiv 2011.00050 (KIP and LS with cheap kernels). One script per table, on top of
`paper_repro.core`. For use by hand:

    from paper_repro import network_kernel, load_dataset, fitted, kip, label_solve, krr, evaluate

`network_kernel` is the exact kernel of a network, `load_dataset` and `fitted` give a data set and
its preprocessing, `kip` and `label_solve` learn a set, `krr` predicts with one, and `evaluate`
scores one from a file. Each is imported when it is first used.
"""

import sys

from paper_repro.core import lazy


def _without_a_traceback(kind, error, trace):
    """What Ctrl-C says while a command is importing is what it says later on."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv[0] == "-m":  # `python -m paper_repro...`
    sys.excepthook = _without_a_traceback

__getattr__, __dir__, __all__ = lazy.exports(
    __name__,
    {
        "evaluate": "paper_repro.evaluate",
        "fitted": "paper_repro.core.preprocess",
        "kip": "paper_repro.core.functions",
        "krr": "paper_repro.core.functions",
        "label_solve": "paper_repro.core.functions",
        "load_dataset": "paper_repro.core.data",
        "network_kernel": "paper_repro.core.kernels",
    },
)
