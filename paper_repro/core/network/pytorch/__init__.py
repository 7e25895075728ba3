"""Finite networks in PyTorch, as DC, DSA, DD, LD, SLDD and coresets train them.

`spec` and `evaluation` can be imported without PyTorch; the other modules need it.
"""
