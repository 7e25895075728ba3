"""Where the released sets are to live, and which release this is."""

REPOSITORY = "kip-repro/distilled-datasets"
"""The dataset repository on the Hugging Face Hub; the one place that names it."""

VERSION = "v1.0.0"
"""Of a release whose build names no other: the tag of a push, the revision a reader asks for."""

MAINTAINERS = "the kip-repro maintainers"
"""Who is named as the author of what goes to `REPOSITORY`."""
