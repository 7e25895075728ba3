"""A matplotlib figure without global state, and how it becomes a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from paper_repro.core.store.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120
FONT = "DejaVu Sans"  # ships with matplotlib, so pictures look the same everywhere


def new_figure(width: float, height: float) -> Figure:
    """A white figure of `width` x `height` inches on an Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(
    figure: Figure, path: Path | str, *, tight: bool = True, colors: int | None = None
) -> Path:
    """Write `figure` as PNG, atomically; the same figure gives the same bytes.

    `tight` cuts the margins to what is drawn, so that nothing is clipped. `colors` stores a palette
    of that many colours, a third of the size for text and lines.

    Raises:
      OSError: the file cannot be written.
    """
    import matplotlib
    from PIL import Image

    path = Path(path)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"font.family": FONT}):
        figure.savefig(
            buffer,
            format="png",
            bbox_inches="tight" if tight else None,
            pad_inches=0.12,
            metadata={"Software": None},
        )
    buffer.seek(0)
    image = Image.open(buffer).convert("RGB")
    if colors is not None:
        image = image.quantize(colors, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    image.save(packed, format="png", optimize=True)
    write_atomic(path, packed.getvalue())
    return path


def literal(text: str) -> str:
    """`text` for matplotlib, which takes what stands between dollar signs for mathematics."""
    return text.replace("$", r"\$")
