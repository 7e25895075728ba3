"""The functions of an activation as compiled code calls them.

An activation's numba form is a NamedTuple of its numbers, whose class has three or four static
functions on `Lanes` (see `activations.base.NumbaForm`). It is an argument of compiled code, so
Numba compiles, and keeps on disk, one version for each form, and picks the functions by its type.
"""

from __future__ import annotations

from numba.extending import overload


def norm(form, variance):
    """What an image contributes to a correlation c = k / (s1 s2): s, of the variance."""
    raise NotImplementedError


def second_moment(form, variance):
    """E[phi(u)^2]."""
    raise NotImplementedError


def variance_pullback(form, s, d_moment, d_s):
    """Adjoint of the variance whose norm is s, from those of its second moment and of s."""
    raise NotImplementedError


def expectations(form, c, s12, inverse12):
    """(E[phi phi], E[phi' phi']) of the correlation c, for s12 = s1 s2 and its inverse."""
    raise NotImplementedError


def pullback(form, c, t, kb, ub, s12, inverse12):
    """(E[phi' phi'], q, d12): the reverse mode of k' = E[phi phi] and t E[phi' phi'].

    For adjoints kb of k' and ub of the other, q = ub t dE[phi' phi'] / dk, and d12 is the adjoint
    of s12.
    """
    raise NotImplementedError


@overload(norm)
def _norm(form, variance):
    return form.instance_class.norm


@overload(second_moment)
def _second_moment(form, variance):
    return form.instance_class.second_moment


@overload(variance_pullback)
def _variance_pullback(form, s, d_moment, d_s):
    return form.instance_class.variance_pullback


@overload(expectations)
def _expectations(form, c, s12, inverse12):
    return form.instance_class.expectations


@overload(pullback)
def _pullback(form, c, t, kb, ub, s12, inverse12):
    return form.instance_class.pullback
