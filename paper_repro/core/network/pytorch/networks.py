"""The networks of DC's evaluation, and those of DD, as PyTorch modules.

ConvNet, MLP, LeNet, AlexNet, VGG11 and ResNet18 are those that DC and DSA train
(arXiv 2006.05929, section 4.1); AlexCifarNet is cuda-convnet's, with which DD learns on CIFAR-10
(arXiv 1811.10959). Gray images of 28x28 are padded by the first convolution to what the others
make of 32x32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from paper_repro.core.errors import UserError
from paper_repro.core.network.pytorch.spec import NetworkSpec

Shape = tuple[int, int, int]
"""(height, width, channels) of an image."""


class FiniteNetwork(nn.Module):
    """Layers that make features of images, and the linear layer that reads them out.

    Inputs are float32 (n, C, H, W), outputs logits (n, n_classes).
    """

    def __init__(self, features: nn.Module, readout: nn.Module):
        super().__init__()
        self.features, self.readout = features, readout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.readout(self.features(x))


def build(spec: NetworkSpec, image_shape: Shape, n_classes: int, seed: int) -> FiniteNetwork:
    """A network with fresh parameters.

    Args:
      spec: which.
      image_shape: (H, W, C) of its inputs.
      n_classes: outputs.
      seed: decides the parameters; the global generator is left as it is.

    Raises:
      UserError: images too small for its layers.

    Example:
      >>> net = build(NetworkSpec("LeNet"), (28, 28, 1), 10, seed=0)
      >>> net(torch.zeros(2, 1, 28, 28)).shape
      torch.Size([2, 10])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features = nn.Sequential(*_FEATURES[spec.name](spec, image_shape), nn.Flatten())
        size = _output_size(features, spec, image_shape)
        network = FiniteNetwork(features, _readout(spec, size, n_classes))
        if spec.initial == "xavier":
            network.apply(_make_xavier)
        return network


def _make_xavier(layer: nn.Module) -> None:
    """Normal weights of variance 2 / (inputs + outputs), biases of 0."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def parameters_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Detached copies of the parameters by name, for `torch.func.functional_call`."""
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def _output_size(features: nn.Module, spec: NetworkSpec, image_shape: Shape) -> int:
    """Number of features of an image."""
    height, width, channels = image_shape
    training = features.training
    try:
        with torch.no_grad():
            size = features.eval()(torch.zeros(1, channels, height, width)).shape[1]
    except (RuntimeError, ValueError) as error:
        raise _too_small(spec, image_shape) from error
    features.train(training)
    if size == 0:
        raise _too_small(spec, image_shape)
    return size


def _too_small(spec: NetworkSpec, image_shape: Shape) -> UserError:
    height, width, _ = image_shape
    return UserError(
        f"images of {height}x{width} are too small for the layers of {spec}: choose another "
        "network, or a smaller depth"
    )


def _readout(spec: NetworkSpec, size: int, n_classes: int) -> nn.Module:
    hidden = {"LeNet": (120, 84), "AlexCifarNet": (384, 192)}.get(spec.name, ())
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [nn.Linear(size, units), nn.ReLU()]
        size = units
    return nn.Sequential(*layers, nn.Linear(size, n_classes))


def _padding(image_shape: Shape, plain: int) -> int:
    """Of the first convolution: gray images of 28x28 become what 32x32 are with `plain`."""
    height, _, channels = image_shape
    return plain + 2 if channels == 1 and height == 28 else plain


def _norm(kind: str, channels: int) -> Iterator[nn.Module]:
    groups = {"instance": channels, "layer": 1, "group": 4}
    if kind == "batch":
        yield nn.BatchNorm2d(channels)
    elif kind != "none":
        yield nn.GroupNorm(groups[kind], channels)


def _convnet(spec: NetworkSpec, image_shape: Shape) -> Iterator[nn.Module]:
    activations = {"relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.01), "sigmoid": nn.Sigmoid}
    channels = image_shape[-1]
    for block in range(spec.depth):
        padding = _padding(image_shape, 1) if block == 0 else 1
        yield nn.Conv2d(channels, spec.width, 3, padding=padding)
        channels = spec.width
        yield from _norm(spec.norm, channels)
        yield activations[spec.activation]()
        if spec.pooling != "none":
            yield {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}[spec.pooling](2)


def _mlp(spec: NetworkSpec, image_shape: Shape) -> Iterator[nn.Module]:
    height, width, channels = image_shape
    yield nn.Flatten()
    yield from (nn.Linear(height * width * channels, spec.width), nn.ReLU())
    yield from (nn.Linear(spec.width, spec.width), nn.ReLU())


def _lenet(spec: NetworkSpec, image_shape: Shape) -> Iterator[nn.Module]:
    yield from (nn.Conv2d(image_shape[-1], 6, 5, padding=_padding(image_shape, 0)), nn.ReLU())
    yield nn.MaxPool2d(2)
    yield from (nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2))


def _alexnet(spec: NetworkSpec, image_shape: Shape) -> Iterator[nn.Module]:
    yield nn.Conv2d(image_shape[-1], 128, 5, padding=_padding(image_shape, 2))
    yield from (nn.ReLU(), nn.MaxPool2d(2))
    yield from (nn.Conv2d(128, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
    for inputs, outputs in ((192, 256), (256, 192), (192, 192)):
        yield from (nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())
    yield nn.MaxPool2d(2)


def _vgg11(spec: NetworkSpec, image_shape: Shape) -> Iterator[nn.Module]:
    channels, padding = image_shape[-1], _padding(image_shape, 1)
    for layer in (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"):
        if layer == "pool":
            yield nn.MaxPool2d(2)
            continue
        yield nn.Conv2d(channels, layer, 3, padding=padding)
        channels, padding = layer, 1
        yield from _norm("instance", channels)
        yield nn.ReLU()


class _Residual(nn.Module):
    """Two convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            *_norm("instance", outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            *_norm("instance", outputs),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), *_norm("instance", outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def _resnet18(spec: NetworkSpec, image_shape: Shape) -> Iterator[nn.Module]:
    padding = _padding(image_shape, 1)
    yield nn.Conv2d(image_shape[-1], 64, 3, padding=padding, bias=False)
    yield from (*_norm("instance", 64), nn.ReLU())
    channels = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        yield _Residual(channels, outputs, stride)
        yield _Residual(outputs, outputs, 1)
        channels = outputs
    yield nn.AvgPool2d(4)


def _alexcifarnet(spec: NetworkSpec, image_shape: Shape) -> Iterator[nn.Module]:
    def response():
        return nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1)

    yield nn.Conv2d(image_shape[-1], 64, 5, padding=_padding(image_shape, 2))
    yield from (nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), response())
    yield from (nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), response())
    yield nn.MaxPool2d(3, 2, padding=1)


_FEATURES: dict[str, Callable[[NetworkSpec, Shape], Iterator[nn.Module]]] = {
    "ConvNet": _convnet,
    "MLP": _mlp,
    "LeNet": _lenet,
    "AlexNet": _alexnet,
    "VGG11": _vgg11,
    "ResNet18": _resnet18,
    "AlexCifarNet": _alexcifarnet,
}
