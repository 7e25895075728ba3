"""The portable backend: the plan in plain JAX, on CPU, GPU and TPU, under `jit` and `grad`."""
