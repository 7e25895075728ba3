import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_repro.core.store.rows import config_hash

scalars = (
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, width=32)
)
values = st.recursive(
    scalars.filter(lambda v: not isinstance(v, float) or abs(v) != float("inf")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
configs = st.dictionaries(st.text(min_size=1), values, max_size=5)


def test_it_is_the_start_of_the_sha256_of_canonical_json():
    config = {"steps": 300, "learning_rate": 0.04, "kernel": {"get": "ntk", "depth": 1}}
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    assert config_hash(config) == hashlib.sha256(text.encode()).hexdigest()[:16]


@given(configs)
def test_key_order_and_a_round_trip_through_json_change_nothing(config):
    backwards = dict(reversed(config.items()))
    assert config_hash(config) == config_hash(backwards)
    assert config_hash(config) == config_hash(json.loads(json.dumps(config)))


@given(configs, st.text(), st.integers())
def test_the_table_and_the_seed_do_not_enter(config, table, seed):
    bare = {k: v for k, v in config.items() if k not in ("table", "seed")}
    assert config_hash(bare) == config_hash({**bare, "table": table, "seed": seed})


@given(configs, st.text(min_size=1).filter(lambda k: k not in ("table", "seed")))
def test_any_other_change_enters(config, key):
    assert config_hash({**config, key: "a"}) != config_hash({**config, key: "b"})


def test_equal_numbers_are_equal_and_booleans_are_not_numbers():
    assert config_hash({"lambda": 100}) == config_hash({"lambda": 100.0})
    assert config_hash({"lambda": np.float32(0.5), "w": (1, 2)}) == config_hash(
        {"lambda": 0.5, "w": [1, 2]}
    )
    assert config_hash({"zca": True}) != config_hash({"zca": 1})


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", np.zeros(2)])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(TypeError, match="result row"):
        config_hash({"x": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError):
        config_hash({"x": value})
