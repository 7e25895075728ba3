"""Reproduction of *Dataset Distillation with Infinitely Wide Convolutional Networks*.

Nguyen, Novak, Xiao and Lee, arXiv 2107.13034 (KIP and Label Solve with the ConvNet NTK), and
the earlier arXiv 2011.00050 (KIP and LS with cheap kernels). One script per table, on top of
`paper_repro.core`.
"""
