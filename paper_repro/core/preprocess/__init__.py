"""From raw images to what a kernel consumes, and back: standardisation and regularised ZCA."""

from paper_repro.core.preprocess.fitting import NAMES, fitted, from_file, usual
from paper_repro.core.preprocess.standard import Standard
from paper_repro.core.preprocess.storage import load, save
from paper_repro.core.preprocess.transform import Transform
from paper_repro.core.preprocess.zca import ZCA

__all__ = ["NAMES", "ZCA", "Standard", "Transform", "fitted", "from_file", "load", "save", "usual"]
