"""The Hugging Face Hub, through `datasets`; given up on quickly when it cannot be reached."""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from urllib.parse import quote

import numpy as np

from paper_repro.core.data.network import (
    library,
    open_url,
    require_usable_variables,
    via_proxy,
    without_passwords,
)
from paper_repro.core.data.notice import say
from paper_repro.core.data.parquet import SPLITS, decode_table
from paper_repro.core.data.registry import HubSource, Spec
from paper_repro.core.errors import Unavailable, UserError

_SOCKET_SECONDS = 5
_PROBE_SECONDS = 8  # everything: name resolution, connection and a server that never finishes
_PARQUET_MAGIC = b"PAR1"


def fetch(spec: Spec) -> tuple[dict[str, np.ndarray], str]:
    """Load a data set from the Hub; return the four arrays and the source.

    With `HF_HUB_OFFLINE` or `HF_DATASETS_OFFLINE` set only the Hub's own cache is read.

    Raises:
      Unavailable: the Hub cannot be reached or does not have it, within a few seconds; or a
        variable of the environment keeps the libraries from asking.
    """
    try:
        require_usable_variables()
        constants = library("huggingface_hub.constants")
        token = library("huggingface_hub").get_token()
        offline = _offline()
    except UserError as error:
        raise Unavailable(str(error)) from error
    except Exception as error:  # a CI service's token is fetched, which fails in many ways
        raise Unavailable(_first_line(error)) from error
    revision = None
    if not offline:
        say(f"{spec.title}: asking {constants.ENDPOINT} (for up to {_PROBE_SECONDS} s)")
        revision = probe(spec.hub, constants.ENDPOINT, token)
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


def probe(hub: HubSource, endpoint: str, token: str | None = None) -> str:
    """The current revision of a data set repository, if its files can be had as well.

    Two small requests with one deadline of 8 s: the repository's description, then the first
    bytes of a training file, which another host often serves. Without them the libraries'
    retries would take minutes to find out.

    Raises:
      Unavailable: no answer in time, or not the answer of a Hub.
    """
    answer: list[object] = []

    def ask() -> None:
        try:
            with _open(f"{endpoint}/api/datasets/{hub.repo}", token) as response:
                info = json.load(response)
            revision = str(info["sha"])
            path = _training_file(hub, info["siblings"])
            url = f"{endpoint}/datasets/{hub.repo}/resolve/{revision}/{quote(path)}"
            with _open(url, token, first_bytes=len(_PARQUET_MAGIC)) as response:
                if response.read(len(_PARQUET_MAGIC)) != _PARQUET_MAGIC:
                    raise ValueError(f"{path} is not Parquet")
            answer.append(revision)
        except (KeyError, TypeError):
            answer.append(ValueError("not the answer of a Hub"))
        except Exception as error:
            answer.append(error)

    # A thread, because a socket's timeout bounds neither name resolution nor a slow trickle.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    result = answer[0] if answer else TimeoutError(f"no answer within {_PROBE_SECONDS} s")
    if not isinstance(result, str):
        reason = _first_line(result)
        if token and getattr(result, "code", None) == 401:
            # The Hub answers so for public data sets too.
            reason = "the stored token is not valid: correct HF_TOKEN, or run `hf auth logout`"
        raise Unavailable(f"cannot be reached at {endpoint} ({reason}{via_proxy(endpoint)})")
    return result


def _open(url: str, token: str | None, first_bytes: int | None = None):
    request = urllib.request.Request(url, headers={"User-Agent": "kip-repro"})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if first_bytes:
        request.add_header("Range", f"bytes=0-{first_bytes - 1}")
    return open_url(request, _SOCKET_SECONDS)


def _training_file(hub: HubSource, siblings: list[dict[str, str]]) -> str:
    names = [sibling["rfilename"] for sibling in siblings]
    parquet = [name for name in names if name.endswith(".parquet")]
    training = [name for name in parquet if name.startswith(f"{hub.config}/train")]
    if not parquet:
        raise ValueError("no Parquet files there")
    return (training or parquet)[0]


def _offline() -> bool:
    if "HF_DATASETS_OFFLINE" in os.environ:
        return library("datasets.config").HF_DATASETS_OFFLINE
    return library("huggingface_hub.constants").HF_HUB_OFFLINE


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
    return without_passwords(text[0]) if text else type(error).__name__
