"""Run notebooks from top to bottom and store what they printed: `execute_notebooks.py FILE...`."""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from paper_repro.core.store.files import write_atomic

for path in map(Path, sys.argv[1:]):
    started = time.monotonic()
    notebook = nbformat.read(path, as_version=4)
    # Without timing, which would change every cell of every run.
    client = NotebookClient(
        notebook, record_timing=False, timeout=None, resources={"metadata": {"path": path.parent}}
    )
    client.execute()
    notebook.metadata["language_info"] = {"name": "python"}
    write_atomic(path, nbformat.writes(notebook) + "\n")
    print(f"{path}: {time.monotonic() - started:.0f} s", flush=True)
