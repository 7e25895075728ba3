"""Fused CUDA kernels of convolutional networks; the same sources also compile for a CPU."""
