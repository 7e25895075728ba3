"""Throughput of the kernels, each beside its peer in the same process."""
