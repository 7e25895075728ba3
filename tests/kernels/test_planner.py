import dataclasses

import pytest

from paper_repro.core.errors import UserError
from paper_repro.core.kernels import architecture as arch
from paper_repro.core.kernels.plan import plan


def test_offsets_of_the_paper_convnet():
    planned = plan(arch.convnet(), (32, 32, 3))
    assert [s.n_offsets for s in planned.segments] == [225, 49, 9]
    assert [s.n_entries for s in planned.segments] == [424**2, 100**2, 22**2]
    assert [s.variance_radius for s in planned.segments] == [(3, 3), (1, 1), (0, 0)]
    assert planned.n_features == 2 * 32**2 + 16**2 + 8**2


def test_mnist_drops_the_odd_row():
    planned = plan(arch.convnet(), (28, 28, 1))
    assert [(s.height, s.out_height) for s in planned.segments] == [(28, 14), (14, 7), (7, 3)]


def test_offsets_never_exceed_the_image():
    planned = plan(arch.convnet(), (8, 32, 3))
    assert [s.radius for s in planned.segments] == [(7, 7), (3, 3), (1, 1)]
    planned = plan(arch.myrtle(5), (9, 8, 3))
    assert [s.radius for s in planned.segments] == [(7, 7), (3, 3), (1, 1)]


def test_flatten_without_pools_needs_offset_zero_alone():
    (segment,) = plan(arch.conv(8), (32, 32, 3)).segments
    assert (segment.n_offsets, segment.n_layers) == (1, 8)


def test_global_average_needs_everything():
    planned = plan(arch.myrtle(10), (32, 32, 3))
    assert all(s.n_entries == (s.height * s.width) ** 2 for s in planned.segments)


def test_flops_of_the_paper_convnet():
    """Per entry: 2 an input channel, 4 or 8 a window sum, 45 and 66 more a ReLU, 2 a pool."""
    planned = plan(arch.convnet(), (32, 32, 3))
    first, *later = (s.n_entries for s in planned.segments)
    forward = first * (6 + 4 + 45 + 8 + 45 + 2) + sum(later) * (8 + 45 + 2) + 4
    assert planned.flops_per_pair() == forward
    reverse = first * (12 + 8 + 111 + 16 + 111 + 4) + sum(later) * (16 + 111 + 4) + 4
    assert planned.flops_per_pair(reverse=True) == reverse


def test_segments_carry_activation_window_and_pool():
    planned = plan(arch.convnet(activation=arch.Erf()), (32, 32, 3))
    assert {(s.activation, s.window, s.pool) for s in planned.segments} == {(arch.Erf(), 3, 2)}
    assert planned.activation == arch.Erf()
    assert [s.pool for s in plan(arch.myrtle(5), (8, 8, 3)).segments] == [2, 2, 1]


def test_a_network_may_change_its_activation_at_a_pool_and_nowhere_else():
    layers = (arch.Conv(), arch.ReLU(), arch.AvgPool(), arch.Conv(), arch.Erf())
    end = (arch.Flatten(), arch.Dense())
    planned = plan(arch.Architecture("Both", (*layers, *end)), (4, 4, 1))
    assert [s.activation for s in planned.segments] == [arch.ReLU(), arch.Erf()]
    assert planned.activation is None
    with pytest.raises(UserError, match="not stacks"):
        plan(arch.Architecture("Mixed", (*layers[:2], *layers[3:], *end)), (4, 4, 1))


@pytest.mark.parametrize(
    ("architecture", "shape", "match"),
    [
        (arch.convnet(), (7, 32, 3), "does not fit"),
        (arch.convnet(6), (32, 32, 3), "does not fit"),
        (arch.convnet(), (32, 32), "height, width, channels"),
        (arch.fully_connected(1), (32, 32, 3), "not stacks"),
        (
            dataclasses.replace(arch.conv(1), layers=(arch.Conv(), arch.Flatten(), arch.Dense())),
            (4, 4, 1),
            "not stacks",
        ),
    ],
)
def test_errors(architecture, shape, match):
    with pytest.raises(UserError, match=match):
        plan(architecture, shape)
