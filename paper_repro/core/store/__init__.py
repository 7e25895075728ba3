"""What a run leaves on disk: files written whole, checkpoints, result rows, provenance."""
