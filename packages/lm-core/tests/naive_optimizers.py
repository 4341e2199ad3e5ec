"""Each optimizer as its paper writes it, on lists of numpy float64 arrays: slow, out of place, one line an equation."""

import numpy as np


def adamw(p, grads, lr, betas, eps, weight_decay):
    m = v = np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        p = p - lr * weight_decay * p - lr * m_hat / (np.sqrt(v_hat) + eps)
    return p


def schedule_free_adamw(p, grads, lr, betas, eps, weight_decay, warmup_steps):
    """(x, y): the average, and where the next gradient would be taken."""
    x = y = z = p
    v, s, largest = np.zeros_like(p), 0.0, 0.0
    for t, g in enumerate(grads, 1):
        rate = lr * (min(1, t / warmup_steps) if warmup_steps else 1) * (1 - betas[1] ** t) ** 0.5
        largest = max(largest, rate)
        s += largest**2
        c = largest**2 / s
        v = betas[1] * v + (1 - betas[1]) * g**2
        z = z - rate * (g / (np.sqrt(v) + eps) + weight_decay * y)
        x = (1 - c) * x + c * z
        y = (1 - betas[0]) * z + betas[0] * x
    return x, y


def lion(p, grads, lr, betas, weight_decay):
    m = np.zeros_like(p)
    for g in grads:
        update = np.sign(betas[0] * m + (1 - betas[0]) * g)
        p = p - lr * (update + weight_decay * p)
        m = betas[1] * m + (1 - betas[1]) * g
    return p


def muon(p, grads, lr, momentum, nesterov, ns_steps, weight_decay):
    """The blog's own form: the momentum is a sum, not an average."""
    b = np.zeros_like(p)
    for g in grads:
        b = momentum * b + g
        u = momentum * b + g if nesterov else b
        o = newton_schulz(u, ns_steps)
        p = p - lr * weight_decay * p - lr * max(1, p.shape[0] / p.shape[1]) ** 0.5 * o
    return p


def newton_schulz(matrix, steps):
    """The quintic on the singular values themselves."""
    u, s, vt = np.linalg.svd(matrix / np.linalg.norm(matrix), full_matrices=False)
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u * s @ vt
