"""Released distilled sets: build, verify, push, load and compare them.

    python -m release build --out build/release
    python -m release verify build/release
    python -m release load cifar10-convnet-ipc10-zca-learned-noaug --source build/release
    python -m release diff build/release other/release

The same as functions: `release.build`, `release.verify`, `release.load`, `release.diff`.
"""
