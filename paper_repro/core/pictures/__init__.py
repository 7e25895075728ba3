"""Pictures of learned images, learned labels and training curves, as deterministic PNG files."""

from paper_repro.core.pictures.curves import curves
from paper_repro.core.pictures.images import before_after, image_grid
from paper_repro.core.pictures.labels import label_heatmap

__all__ = ["before_after", "curves", "image_grid", "label_heatmap"]
