"""What a release folder holds: its layout, rows, arrays, records, transforms and manifest."""
