"""Newton-Schulz: orthogonalizes matrices with products only. `orthogonalize` is the definition, `orthogonalize_fast` the same result.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the iteration is older: Björck & Bowie 1971, https://doi.org/10.1137/0708036.
"""

import functools

import torch
from torch import Tensor

# The quintic a*x + b*x**3 + c*x**5, chosen by Jordan for its slope at 0: five rounds bring every singular value that
# is not tiny to between 0.7 and 1.2, which trains as well as exactly 1.
QUINTIC = (3.4445, -4.7750, 2.0315)
SMALLEST_NORM = 1e-7
# A symmetric product is computed in so many strips of rows, from this many rows on.
STRIPS = 4
WORTH_HALVING = 256
BFLOAT16_FROM = 256


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

    All products but the last are symmetric, for all are polynomials of A: in float32 and up half of each is computed.
    """
    x = _normalized(matrices)
    rows, columns = x.shape[-2:]
    exact = x.dtype in (torch.float32, torch.float64)
    if exact and _gram_cost(rows, columns, steps) < _cost(rows, columns, steps):
        return _through_gram(x, steps)
    # Each round writes where the round before last wrote: 28 matrices of d_model 512, 2 cores, bfloat16: 507 ms against 556.
    spare, gram = torch.empty_like(x), x.new_empty(len(x), rows, rows)
    polynomial = torch.empty_like(gram)
    a, b, c = QUINTIC
    for _ in range(steps):
        _symmetric_product(x, x, gram)
        _polynomial(gram, b, c, polynomial)
        torch.baddbmm(x, polynomial, x, beta=a, out=spare)
        x, spare = spare, x
    return x


def _through_gram(x: Tensor, steps: int) -> Tensor:
    a, b, c = QUINTIC
    gram = x.new_empty(len(x), x.shape[1], x.shape[1])
    polynomial, product, spare = (torch.empty_like(gram) for _ in range(3))
    _symmetric_product(x, x, gram)
    for step in range(steps):
        _polynomial(gram, b, c, polynomial)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        if step == 0:
            product.copy_(polynomial)
        else:
            _symmetric_product(polynomial, product, spare)
            product, spare = spare, product
        if step < steps - 1:
            _symmetric_product(polynomial, gram, spare)
            _symmetric_product(polynomial, spare, gram)
    return product @ x


def _polynomial(gram: Tensor, b: float, c: float, out: Tensor) -> None:
    """out = b gram + c gram^2."""
    if _halves(gram):
        _symmetric_product(gram, gram, out)
        out.mul_(c).add_(gram, alpha=b)
    else:
        torch.baddbmm(gram, gram, gram, beta=b, alpha=c, out=out)


def _symmetric_product(x: Tensor, y: Tensor, out: Tensor) -> None:
    """out = x y^T of shape (batch, rows, rows), known to be symmetric: strip by strip on and above the diagonal, and mirrored.

    Ten sixteenths of the multiplications: 35 ms against 48 for twelve matrices of 512 x 1408, 14.4 against 17.5 for 512 x 512.
    """
    if not _halves(x):
        torch.bmm(x, y.mT, out=out)
        return
    rows = x.shape[1]
    height = -(-rows // STRIPS)
    for start in range(0, rows, height):
        stop = min(start + height, rows)
        out[:, start:stop, start:] = torch.bmm(x[:, start:stop], y[:, start:].mT)
        out[:, stop:, start:stop] = out[:, start:stop, stop:].mT


def _halves(x: Tensor) -> bool:
    """Whether strips pay: in bfloat16 (10.3 ms in one product, 13.0 in strips) and in small matrices they do not."""
    exact = x.dtype in (torch.float32, torch.float64)
    return exact and x.device.type == "cpu" and x.shape[1] >= WORTH_HALVING


def newton_schulz_dtype(matrix: Tensor, smaller_side: int) -> torch.dtype:
    """bfloat16 where the device is known to be fast at it, else the matrix's own precision, at least float32.

    Known are CUDA devices of compute capability 8 or more, and CPUs with AVX-512-BF16, there for matrices whose smaller
    side (of the whole, not of a rank's part) is 256 or more: 28 matrices of d_model 512 take 507 ms in bfloat16, 772 in
    float32. Smaller ones stay in float32, where a run on one rank and on two agree to 1e-6 after 20 steps and not to 7e-5.
    On a CPU without such units a bfloat16 product was 37 times slower than a float32 one. The answer depends on the
    machine and the shape alone, so that a resumed run computes as before.
    """
    device = matrix.device
    if device.type == "cuda" and torch.version.cuda and torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.bfloat16
    if (
        device.type == "cpu"
        and smaller_side >= BFLOAT16_FROM
        and matrix.dtype != torch.float64
        and cpu_has_bfloat16_units()
    ):
        return torch.bfloat16
    return torch.promote_types(matrix.dtype, torch.float32)


@functools.cache
def cpu_has_bfloat16_units() -> bool:
    """Whether this CPU has AVX-512-BF16 (or AMX, which comes with it), and torch the kernels that use it."""
    known = hasattr(torch.cpu, "_is_avx512_bf16_supported") and torch._C._has_mkldnn
    return known and torch.cpu._is_avx512_bf16_supported()


def _normalized(matrices: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.matrix_norm(matrices, keepdim=True)  # (..., 1, 1)
    return matrices / norms.clamp_min(SMALLEST_NORM)


def _cost(rows: int, columns: int, steps: int) -> int:
    """Multiplications of the plain rounds, in units of rows**2: two wide products and a square one a round."""
    return steps * (2 * columns + rows)


def _gram_cost(rows: int, columns: int, steps: int) -> int:
    """The same through the Gram matrix: two wide products in all, and four square ones a round but three in all."""
    return 2 * columns + (4 * steps - 3) * rows
