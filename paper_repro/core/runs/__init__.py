"""From the cells of a table to result rows: what a cell is, what it may spend, how it is run."""
