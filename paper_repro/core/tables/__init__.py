"""From result rows to tables: published figures, cells, verdicts and their rendering."""
