# SPDX-License-Identifier: Apache-2.0
"""Every rule, and its formula written again in NumPy.

A formula is called as `formula(theta, objective, steps)`: it takes the start and an
`Objective`, and returns the parameters after some steps. All is computed in float64; the
parameters alone are rounded after each step, to the dtype of the model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import rosin as rs


class Row(NamedTuple):
    """A rule and its formula; `together`: of all parameters at once, not of each array."""

    rule: Any
    formula: Callable[..., Any]
    together: bool = False


class Objective(NamedTuple):
    """A gradient, of parameters and step from 0, and how parameters are rounded."""

    gradient: Callable[..., Any]
    kept: Callable[..., Any]

    def __call__(self, theta, step):
        return self.gradient(theta, step)

    def changed(self, change):
        """Change the gradient by a function of it and the parameters."""
        return self._replace(gradient=lambda x, t: change(self.gradient(x, t), x))


def walk(theta, gradient_of, steps, move):
    """Apply `theta <- theta - move(g, theta, t)`, t from 1."""
    for t in range(1, steps + 1):
        theta = gradient_of.kept(theta - move(gradient_of(theta, t - 1), theta, t))
    return theta


def descent(rate):
    return lambda x, g, n: walk(x, g, n, lambda g, x, t: rate * g)


def momentum(rate, rho, *, nesterov=False):
    def formula(x, gradient_of, n):
        v = 0 * x

        def move(g, x, t):
            nonlocal v
            v = rho * v + g
            return rate * (rho * v + g if nesterov else v)

        return walk(x, gradient_of, n, move)

    return formula


def rprop(rate, shrinkage, growth, least, most):
    def formula(x, gradient_of, n):
        stride, before = np.full_like(x, rate), 0 * x

        def move(g, x, t):
            nonlocal stride, before
            turn = g * before
            stride = np.where(turn > 0, np.minimum(stride * growth, most), stride)
            stride = np.where(turn < 0, np.maximum(stride * shrinkage, least), stride)
            before = np.where(turn < 0, 0, g)
            return stride * np.sign(before)

        return walk(x, gradient_of, n, move)

    return formula


def lion(rate, b1, b2, decay):
    def formula(x, gradient_of, n):
        m = 0 * x

        def move(g, x, t):
            nonlocal m
            d = np.sign(b1 * m + (1 - b1) * g) + decay * x
            m = b2 * m + (1 - b2) * g
            return rate * d

        return walk(x, gradient_of, n, move)

    return formula


def adam_like(step):
    """Build a formula from `step(g, m, v, x, t, memory)`, given Adam's moments."""

    def build(rate, b1=0.9, b2=0.999, eps=1e-8, **more):
        def formula(x, gradient_of, n):
            m, v, memory = 0 * x, 0 * x, {}

            def move(g, x, t):
                nonlocal m, v
                m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
                return rate * step(g, m, v, x, t, memory, b1=b1, b2=b2, eps=eps, **more)

            return walk(x, gradient_of, n, move)

        return formula

    return build


@adam_like
def adam(g, m, v, x, t, memory, *, b1, b2, eps, decay=0.0):
    return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * x


@adam_like
def adamax(g, m, v, x, t, memory, *, b1, b2, eps):
    memory["u"] = np.maximum(b2 * memory.get("u", 0), np.abs(g))
    return m / (memory["u"] + eps) / (1 - b1**t)


@adam_like
def radam(g, m, v, x, t, memory, *, b1, b2, eps):
    most = 2 / (1 - b2) - 1
    rho = most - 2 * t * b2**t / (1 - b2**t)
    if rho <= 4:
        return m / (1 - b1**t)
    r = np.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
    return r * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)


@adam_like
def nadam(g, m, v, x, t, memory, *, b1, b2, eps):
    ahead = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
    return ahead / (np.sqrt(v / (1 - b2**t)) + eps)


@adam_like
def amsgrad(g, m, v, x, t, memory, *, b1, b2, eps):
    memory["top"] = np.maximum(memory.get("top", 0), v)
    return m / (np.sqrt(memory["top"]) + eps)


@adam_like
def adabelief(g, m, v, x, t, memory, *, b1, b2, eps):
    memory["s"] = b2 * memory.get("s", 0) + (1 - b2) * (g - m) ** 2 + eps
    return m / (1 - b1**t) / (np.sqrt(memory["s"] / (1 - b2**t)) + eps)


@adam_like
def oadam(g, m, v, x, t, memory, *, b1, b2, eps):
    now = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
    before, memory["d"] = memory.get("d", 0), now
    return 2 * now - before


@adam_like
def lamb(g, m, v, x, t, memory, *, b1, b2, eps, decay):
    d = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * x
    return np.linalg.norm(x) / np.linalg.norm(d) * d


def rmsprop(rate, rho, eps, *, centred=False):
    def formula(x, gradient_of, n):
        s, mean = 0 * x, 0 * x

        def move(g, x, t):
            nonlocal s, mean
            s, mean = rho * s + (1 - rho) * g**2, rho * mean + (1 - rho) * g
            return rate * g / (np.sqrt(s - mean**2 if centred else s) + eps)

        return walk(x, gradient_of, n, move)

    return formula


def adagrad(rate, eps):
    def formula(x, gradient_of, n):
        s = 0 * x

        def move(g, x, t):
            nonlocal s
            s = s + g**2
            return rate * g / (np.sqrt(s) + eps)

        return walk(x, gradient_of, n, move)

    return formula


def adadelta(rho, eps):
    def formula(x, gradient_of, n):
        s, deltas = 0 * x, 0 * x

        def move(g, x, t):
            nonlocal s, deltas
            s = rho * s + (1 - rho) * g**2
            d = g * np.sqrt(deltas + eps) / np.sqrt(s + eps)
            deltas = rho * deltas + (1 - rho) * d**2
            return d

        return walk(x, gradient_of, n, move)

    return formula


def rms(x):
    return np.sqrt(np.mean(x**2))


def adafactor(rate, clip, least):
    def formula(x, gradient_of, n):
        rows, columns = 0.0, 0.0

        def move(g, x, t):
            nonlocal rows, columns
            beta = 1 - t**-0.8
            rows = beta * rows + (1 - beta) * (g**2).mean(1)
            columns = beta * columns + (1 - beta) * (g**2).mean(0)
            u = g / np.sqrt(np.outer(rows, columns) / rows.mean())
            return max(least, rms(x)) * min(rate, t**-0.5) * u / max(1, rms(u) / clip)

        return walk(x, gradient_of, n, move)

    return formula


def muon(rate, mu):
    def formula(x, gradient_of, n):
        m = 0 * x

        def move(g, x, t):
            nonlocal m
            m = mu * m + g
            y = (g + mu * m) / np.linalg.norm(g + mu * m)
            for _ in range(5):
                gram = y @ y.T
                y = 3.4445 * y + (-4.7750 * gram + 2.0315 * gram @ gram) @ y
            return rate * max(1, x.shape[1] / x.shape[0]) ** 0.5 * y

        return walk(x, gradient_of, n, move)

    return formula


def coupled(decay, inner, penalty=lambda x: x):
    """Add a penalty to the gradient of a formula."""
    return lambda x, g, n: inner(x, g.changed(lambda g, x: g + decay * penalty(x)), n)


def clipped(limit, inner, *, norm):
    def bounded(g, x):
        return g * min(1, limit / np.linalg.norm(g)) if norm else np.clip(g, -limit, limit)

    return lambda x, g, n: inner(x, g.changed(bounded), n)


def lookahead(period, alpha, rate):
    def formula(x, gradient_of, n):
        slow = x
        for t in range(n):
            x = x - rate * gradient_of(x, t)
            if (t + 1) % period == 0:
                slow = slow + alpha * (x - slow)
                x = slow
            x = gradient_of.kept(x)
        return x

    return formula


def schedule_free(beta, rate):
    def formula(x, gradient_of, n):
        z = mean = x
        for t in range(n):
            z = z - rate * gradient_of(x, t)
            mean = mean + (z - mean) / (t + 1)
            x = gradient_of.kept((1 - beta) * z + beta * mean)
        return x

    return formula


def accumulated(count, rate):
    def formula(x, gradient_of, n):
        mean = 0 * x
        for t in range(n):
            mean = mean + gradient_of(x, t) / count
            if (t + 1) % count == 0:
                x, mean = gradient_of.kept(x - rate * mean), 0 * mean
        return x

    return formula


def mastered(inner):
    """Round where the gradient is taken and at the end, and nowhere between."""

    def formula(x, g, n):
        at_rounded = Objective(lambda x, t: g(g.kept(x), t), lambda x: x)
        return g.kept(inner(x, at_rounded, n))

    return formula


def scheduled(rate_at):
    return lambda x, g, n: walk(x, g, n, lambda g, x, t: rate_at(t - 1) * g)


CHAIN = rs.OptimiserChain
RULES = {
    "Descent": Row(rs.Descent(0.03), descent(0.03)),
    "Momentum": Row(rs.Momentum(0.02, momentum=0.8), momentum(0.02, 0.8)),
    "Nesterov": Row(rs.Nesterov(0.01, momentum=0.8), momentum(0.01, 0.8, nesterov=True)),
    "Rprop": Row(
        rs.Rprop(0.02, shrinkage=0.6, growth=1.3, least=0.005, most=0.05),
        rprop(0.02, 0.6, 1.3, 0.005, 0.05),
    ),
    "Lion": Row(rs.Lion(0.01, weight_decay=0.1), lion(0.01, 0.9, 0.99, 0.1)),
    "Adam": Row(rs.Adam(0.05, beta1=0.8, beta2=0.95, epsilon=0.01), adam(0.05, 0.8, 0.95, 0.01)),
    "AdamW": Row(rs.AdamW(0.05, weight_decay=0.2), adam(0.05, decay=0.2)),
    "AdaMax": Row(rs.AdaMax(0.05, beta2=0.9), adamax(0.05, b2=0.9)),
    "RAdam": Row(rs.RAdam(0.05, beta2=0.95), radam(0.05, b2=0.95)),
    "NAdam": Row(rs.NAdam(0.05), nadam(0.05)),
    "AMSGrad": Row(rs.AMSGrad(0.02, beta2=0.9), amsgrad(0.02, b2=0.9)),
    "AdaBelief": Row(rs.AdaBelief(0.02), adabelief(0.02, eps=1e-16)),
    "OAdam": Row(rs.OAdam(0.05), oadam(0.05, 0.5, 0.9)),
    "RMSProp": Row(rs.RMSProp(0.02, rho=0.8), rmsprop(0.02, 0.8, 1e-8)),
    "centred RMSProp": Row(
        rs.RMSProp(0.01, rho=0.8, epsilon=0.01, centred=True),
        rmsprop(0.01, 0.8, 0.01, centred=True),
    ),
    "AdaGrad": Row(rs.AdaGrad(0.1), adagrad(0.1, 1e-8)),
    "AdaDelta": Row(rs.AdaDelta(0.8, epsilon=1e-3), adadelta(0.8, 1e-3)),
    "LAMB": Row(rs.LAMB(0.02, weight_decay=0.1), lamb(0.02, eps=1e-6, decay=0.1)),
    "Adafactor": Row(rs.Adafactor(0.05), adafactor(0.05, 1.0, 1e-3)),
    "Muon": Row(rs.Muon(0.02, momentum=0.8), muon(0.02, 0.8)),
    "WeightDecay": Row(CHAIN(rs.WeightDecay(0.3), rs.Adam(0.05)), coupled(0.3, adam(0.05))),
    "SignDecay": Row(
        CHAIN(rs.SignDecay(0.3), rs.Descent(0.02)), coupled(0.3, descent(0.02), np.sign)
    ),
    "ClipGrad": Row(CHAIN(rs.ClipGrad(0.7), rs.Descent(0.1)), clipped(0.7, descent(0.1), norm=0)),
    "ClipNorm": Row(
        CHAIN(rs.ClipNorm(0.7), rs.Descent(0.1)), clipped(0.7, descent(0.1), norm=1), True
    ),
    "ClipNorm of each array": Row(
        CHAIN(rs.ClipNorm(0.7, per_array=True), rs.Descent(0.1)),
        clipped(0.7, descent(0.1), norm=1),
    ),
    "AccumGrad": Row(CHAIN(rs.AccumGrad(3), rs.Descent(0.1)), accumulated(3, 0.1)),
    "Lookahead": Row(CHAIN(rs.Descent(0.05), rs.Lookahead(3, alpha=0.4)), lookahead(3, 0.4, 0.05)),
    "ScheduleFree": Row(CHAIN(rs.Descent(0.1), rs.ScheduleFree(0.7)), schedule_free(0.7, 0.1)),
    "average": Row(CHAIN(rs.Descent(0.05), rs.ExponentialMovingAverage(0.9)), descent(0.05)),
    "MixedPrecision": Row(rs.MixedPrecision(rs.Adam(0.05)), mastered(adam(0.05))),
    "a schedule": Row(
        rs.Descent(rs.WarmUp(rs.Exp(0.1, 0.9), 4)),
        scheduled(lambda t: 0.1 * 0.9 ** max(t - 4, 0) * min(1, (t + 1) / 5)),
    ),
}
