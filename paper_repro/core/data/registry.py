"""What is known of each official data set: shape, classes, digests and where the Hub keeps it.

Digests are SHA-256 of the decoded uint8 arrays in C order, rows in the order of the official
archive, so that every source yields the same bytes or is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from paper_repro.core.data import class_names
from paper_repro.core.data.arrays import KEYS
from paper_repro.core.errors import UserError


@dataclass(frozen=True)
class HubSource:
    """A data set repository on the Hugging Face Hub, stored as Parquet."""

    repo: str
    config: str
    image_column: str = "image"
    label_column: str = "label"
    data_files: Mapping[str, str] | None = None  # by split, where the configuration holds more


@dataclass(frozen=True)
class Spec:
    """One official data set."""

    name: str
    title: str
    image_shape: tuple[int, int, int]  # height, width, channels
    n_train: int
    n_test: int
    class_names: tuple[str, ...]
    hub: HubSource
    sha256: Mapping[str, str] | None = None  # per array; None where no digest is published
    class_counts: Mapping[str, tuple[int, ...]] | None = None  # checked where no digest is
    block_sha256: tuple[str, ...] = ()  # x_train in consecutive equal blocks, official order


def _sha256(*hexadecimal: str) -> dict[str, str]:
    return dict(zip(KEYS, hexadecimal, strict=True))


_SPECS = (
    Spec(
        name="mnist",
        title="MNIST",
        image_shape=(28, 28, 1),
        n_train=60_000,
        n_test=10_000,
        class_names=class_names.DIGITS,
        hub=HubSource("ylecun/mnist", "mnist"),
        sha256=_sha256(
            "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
            "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
            "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        ),
    ),
    Spec(
        name="fashion_mnist",
        title="Fashion-MNIST",
        image_shape=(28, 28, 1),
        n_train=60_000,
        n_test=10_000,
        class_names=class_names.FASHION,
        hub=HubSource("zalando-datasets/fashion_mnist", "fashion_mnist"),
        sha256=_sha256(
            "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
            "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
            "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
            "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
        ),
    ),
    Spec(
        name="svhn",
        title="SVHN",
        image_shape=(32, 32, 3),
        n_train=73_257,
        n_test=26_032,
        class_names=class_names.DIGITS,
        hub=HubSource(
            "ufldl-stanford/svhn",
            "cropped_digits",
            data_files={  # without the 531,131 extra images
                "train": "cropped_digits/train-*.parquet",
                "test": "cropped_digits/test-*.parquet",
            },
        ),
        class_counts={
            "y_train": (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
            "y_test": (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
        },
    ),
    Spec(
        name="cifar10",
        title="CIFAR-10",
        image_shape=(32, 32, 3),
        n_train=50_000,
        n_test=10_000,
        class_names=class_names.CIFAR10,
        hub=HubSource("uoft-cs/cifar10", "plain_text", image_column="img"),
        sha256=_sha256(
            "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
            "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
            "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
            "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
        ),
        block_sha256=(  # data_batch_1 to data_batch_5
            "fc115a3de050d667b88cbd5b0b9612ebf996c54230fe7758f3a14bb5af9a1c27",
            "89e609b642f687bc796fa3bfa4211005582a0e8131d463d996d11ddb297d312e",
            "93a365823e61729490a8801d80864ccd0ab1e8c98f19d71af65644d1c5f1486e",
            "809eb95ecd057a36516318f5023ea619009dd70dd38193db9da43125a928e6fa",
            "d05b7d66d216d6df882cc760cdc0ff2f1f0437abf699ed16005c021ef0add9cb",
        ),
    ),
    Spec(
        name="cifar100",
        title="CIFAR-100",
        image_shape=(32, 32, 3),
        n_train=50_000,
        n_test=10_000,
        class_names=class_names.CIFAR100,
        hub=HubSource(
            "uoft-cs/cifar100", "cifar100", image_column="img", label_column="fine_label"
        ),
        sha256=_sha256(
            "4e457917601a66aed021f5fa37957b56c6319557c0a8ed5484de3c390af45430",
            "9f11b9f97aad759ba6df0a33e3218b01d8deaf4ed3a14aa1185d69b9ad7ebcb3",
            "4cb8e5d9309da489bf6b19cc10cd96c3ae6f8daf225380b605aaee4c0d6aee19",
            "4dad7d09c7c97d33f6cb928d705cf4196221316fd6e31bdd978a08ed9103ee0b",
        ),
    ),
)

DATASETS: dict[str, Spec] = {spec.name: spec for spec in _SPECS}


def plain(name: str) -> str:
    """The name without case and separators: "Fashion-MNIST" and "fashion_mnist" are one."""
    return re.sub(r"[\s_-]+", "", name).lower()


def find(name: str) -> Spec | None:
    """The official data set of that name in any spelling, or None."""
    return {plain(known): spec for known, spec in DATASETS.items()}.get(plain(name))


def title(name: str) -> str:
    """What a data set is called in tables: an official one by its title, another by its name."""
    return DATASETS[name].title if name in DATASETS else name


def channels(name: str) -> int:
    """Channels of the images of an official data set, or of a sample of one (`<name>_mini`).

    Raises:
      UserError: it is not an official one, so that nothing is known of its images.

    Example:
      >>> channels("MNIST")
      1
    """
    if (spec := find(name.removesuffix("_mini"))) is None:
        known = ", ".join(DATASETS)
        raise UserError(f"{name} is not an official data set: choose from {known}")
    return spec.image_shape[-1]
