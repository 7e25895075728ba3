"""From the cells of a table to result rows: presets, what a cell is, and how it is run."""
