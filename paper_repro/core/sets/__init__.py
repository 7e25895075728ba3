"""Learned sets: what one is, its record, and the directory that holds them."""
