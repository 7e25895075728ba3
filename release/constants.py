"""Where the released sets live, and which release this is."""

REPOSITORY = "kip-repro/distilled-datasets"
"""The dataset repository on the Hugging Face Hub; the one place that names it."""

VERSION = "v1.0.0"
"""Of the release a build makes: the tag a push sets and the revision a reader asks for."""

PUSHED = False
"""Whether `REPOSITORY` holds this release. Until it does, the card's examples read the folder."""

FOLDER = "build/release"
"""The release folder in those examples: where `make release` puts it."""
