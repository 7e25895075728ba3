"""The CPU backend: the plan executed by compiled Python, targets in SIMD lanes, all cores."""
