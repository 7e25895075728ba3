"""The Hugging Face Hub, through `datasets`; given up on quickly when it cannot be reached."""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections.abc import Mapping

import numpy as np

from paper_repro.core.data.notice import say
from paper_repro.core.data.parquet import SPLITS, decode_table
from paper_repro.core.data.registry import Spec
from paper_repro.core.data.unavailable import Unavailable
from paper_repro.core.errors import UserError

_SOCKET_SECONDS = 5
_PROBE_SECONDS = 6  # everything: name resolution, connection and a server that never finishes


def fetch(spec: Spec) -> tuple[dict[str, np.ndarray], str]:
    """Load a data set from the Hub; return the four arrays and the source.

    With `HF_HUB_OFFLINE` or `HF_DATASETS_OFFLINE` set only the Hub's own cache is read.

    Raises:
      Unavailable: the Hub cannot be reached or does not have it, within a few seconds.
    """
    from huggingface_hub import constants, utils

    revision = None
    if not _offline():
        revision = probe(spec.hub.repo, constants.ENDPOINT, utils.build_hf_headers())
        say(f"{spec.title}: fetching {spec.hub.repo} from the Hugging Face Hub")
    try:
        tables = _load(spec, revision)
    except Exception as error:  # of any library below `datasets`: the next source may do better
        raise Unavailable(f"{spec.hub.repo}: {_first_line(error)}") from error
    arrays = {}
    for split, table in tables.items():
        try:
            images, labels = decode_table(table, spec, f"{spec.hub.repo} ({split})")
        except UserError as error:
            raise Unavailable(str(error)) from error
        arrays[f"x_{split}"], arrays[f"y_{split}"] = images, labels
    return arrays, f"Hugging Face Hub {spec.hub.repo}" + (f"@{revision}" if revision else "")


def probe(repo: str, endpoint: str, headers: Mapping[str, str] | None = None) -> str:
    """The current revision of a data set repository, asked with a deadline of 6 s.

    Raises:
      Unavailable: no answer in time, or not the answer of a Hub.
    """
    request = urllib.request.Request(f"{endpoint}/api/datasets/{repo}", headers=dict(headers or {}))
    answer: list[object] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(request, timeout=_SOCKET_SECONDS) as response:
                answer.append(json.load(response)["sha"])
        except Exception as error:
            answer.append(error)

    # A thread, because a socket's timeout bounds neither name resolution nor a slow trickle.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    result = answer[0] if answer else TimeoutError(f"no answer within {_PROBE_SECONDS} s")
    if not isinstance(result, str):
        raise Unavailable(f"cannot be reached at {endpoint} ({_first_line(result)})")
    return result


def _offline() -> bool:
    if "HF_DATASETS_OFFLINE" in os.environ:
        import datasets.config

        return datasets.config.HF_DATASETS_OFFLINE
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def _load(spec: Spec, revision: str | None):
    import datasets

    if spec.hub.data_files is None:
        loaded = datasets.load_dataset(spec.hub.repo, spec.hub.config, revision=revision)
    else:
        loaded = datasets.load_dataset(
            spec.hub.repo,
            data_files=dict(spec.hub.data_files),
            revision=revision,
            verification_mode="no_checks",  # the whole repository's sizes do not apply
        )
    columns = [spec.hub.image_column, spec.hub.label_column]
    return {
        split: loaded[split]
        .select_columns(columns)
        .cast_column(spec.hub.image_column, datasets.Image(decode=False))
        .with_format("arrow")[:]
        for split in SPLITS
    }


def _first_line(error: object) -> str:
    text = str(getattr(error, "reason", error)).strip().splitlines()
    return text[0] if text else type(error).__name__
