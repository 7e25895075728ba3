"""Speed and precision, each beside its peer in the same process."""
