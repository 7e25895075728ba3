"""The inner loop of standardisation, compiled for all cores."""

import numba


@numba.njit(parallel=True, cache=True)
def standardise(x, mean, std, out):
    """out = (x - mean) / std, computed in float64 without temporary arrays.

    Args:
      x: (n, d), any numeric dtype, C order.
      mean: float64 (d,).
      std: float64 (d,).
      out: (n, d), float32 or float64.
    """
    for i in numba.prange(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = (x[i, j] - mean[j]) / std[j]
