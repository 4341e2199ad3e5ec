"""Newton-Schulz: orthogonalizes matrices with products only. `orthogonalize` is the definition, `orthogonalize_fast` the same result.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the iteration is older: Björck & Bowie 1971, https://doi.org/10.1137/0708036.
"""

import torch
from torch import Tensor

# The quintic a*x + b*x**3 + c*x**5, chosen by Jordan for its slope at 0: five rounds bring every singular value that
# is not tiny to between 0.7 and 1.2, which trains as well as exactly 1.
QUINTIC = (3.4445, -4.7750, 2.0315)
SMALLEST_NORM = 1e-7


def orthogonalize(matrices: Tensor, steps: int) -> Tensor:
    """Roughly U V^T for each matrix U S V^T of shape (..., rows, columns); cheapest with rows <= columns.

    X = M / |M|_F, then `steps` times X <- a X + (b A + c A^2) X with A = X X^T: each singular value s becomes
    a s + b s^3 + c s^5, which pushes it towards 1. Computed in the dtype of `matrices`.
    """
    a, b, c = QUINTIC
    x = _normalized(matrices)
    for _ in range(steps):
        gram = x @ x.mT  # (..., rows, rows)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x


def orthogonalize_fast(matrices: Tensor, steps: int) -> Tensor:
    """`orthogonalize` with fewer and smaller operations, for matrices of shape (batch, rows, columns).

    Each round multiplies X by P = a + b A + c A^2, and A by P on both sides. So for wide matrices the rounds need only
    the small A (rows x rows), and the product of the P's is applied to X once, at the end. With r = columns / rows, five
    rounds cost 2 r + 17 products of rows**3 multiplications instead of 10 r + 5: 250 ms instead of 460 for two matrices
    of 768 x 3072 (2 cores). Rounding in A reaches the smallest singular values, so this is for float32 and up.
    """
    a, b, c = QUINTIC
    x = _normalized(matrices)
    rows, columns = x.shape[-2:]
    through_gram = x.dtype in (torch.float32, torch.float64) and _gram_cost(rows, columns, steps) < _cost(
        rows, columns, steps
    )
    if not through_gram:
        for _ in range(steps):
            gram = x @ x.mT
            polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            x = torch.baddbmm(x, polynomial, x, beta=a)
        return x
    gram = x @ x.mT
    product: Tensor | None = None
    for step in range(steps):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        product = polynomial if product is None else polynomial @ product
        if step < steps - 1:
            gram = polynomial @ (polynomial @ gram)
    return x if product is None else product @ x


def newton_schulz_dtype(matrix: Tensor) -> torch.dtype:
    """bfloat16 where the device is known to be fast at it, else the matrix's own precision, at least float32.

    On a CPU without bfloat16 units a bfloat16 product was 37 times slower than a float32 one.
    """
    device = matrix.device
    if device.type == "cuda" and torch.version.cuda and torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.bfloat16
    return torch.promote_types(matrix.dtype, torch.float32)


def _normalized(matrices: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.matrix_norm(matrices, keepdim=True)  # (..., 1, 1)
    return matrices / norms.clamp_min(SMALLEST_NORM)


def _cost(rows: int, columns: int, steps: int) -> int:
    """Multiplications of the plain rounds, in units of rows**2: two wide products and a square one a round."""
    return steps * (2 * columns + rows)


def _gram_cost(rows: int, columns: int, steps: int) -> int:
    """The same through the Gram matrix: two wide products in all, and four square ones a round but three in all."""
    return 2 * columns + (4 * steps - 3) * rows
