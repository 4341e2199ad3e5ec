"""AdamW as one loop over memory, behind `AdamW(compile=True)`: C on a CPU (adamw.c), torch.compile elsewhere.

The step is memory traffic. Eight operations of torch go through memory, or at best through the cache, eight times; here every
number is read once. Equal to the definition but for rounding: the compiler may multiply and add in one rounding.
"""

import ctypes
import functools
import itertools
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lm_core.errors import ConfigError
from lm_core.optim.pieces import can_be_cut

SOURCE = Path(__file__).with_name("adamw.c")
COMPILERS = ("cc", "gcc", "clang")
# No errno and no traps, so that sqrt is one instruction; no multiplication and addition in one rounding, which torch does not do either.
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-shared", "-fPIC")
FUNCTIONS = {torch.float32: "adamw_float", torch.float64: "adamw_double"}
SMALLEST_SHARE = 1 << 18  # elements: starting a thread takes as long as updating fewer
BACKEND = "inductor"

Quadruple = tuple[Tensor, Tensor, Tensor, Tensor]
"""A parameter, its gradient, m and v."""


def require_compiler() -> str:
    """The C compiler's path; a ConfigError where there is none."""
    for name in COMPILERS:
        if found := shutil.which(name):
            return found
    raise ConfigError(
        f"compile=True needs a C compiler ({', '.join(COMPILERS)}) and none is on the PATH; install one, or leave compile=False"
    )


def fits(tensors: tuple[Tensor, ...]) -> bool:
    """Whether the loop in C can update these: contiguous on the CPU, all float32 or all float64."""
    dtype = tensors[0].dtype
    return dtype in FUNCTIONS and all(tensor.dtype is dtype for tensor in tensors) and can_be_cut(*tensors)


def update_in_one_pass(works: list[Quadruple], numbers: list[float]) -> None:
    """One step on tensors that fit, all of one dtype, shared out among torch.get_num_threads() threads."""
    step = getattr(library(), FUNCTIONS[works[0][0].dtype])
    count = len(works)
    tensors = [
        (ctypes.c_void_p * count)(*(tensor.data_ptr() for tensor in kind))
        for kind in zip(*works, strict=True)
    ]
    sizes = (ctypes.c_int64 * count)(*(work[0].numel() for work in works))
    constants = (ctypes.c_double * len(numbers))(*numbers)
    total = sum(sizes)
    shares = max(1, min(torch.get_num_threads(), total // SMALLEST_SHARE))
    ends = [total * share // shares for share in range(shares + 1)]
    others = [
        threading.Thread(target=step, args=(count, *tensors, sizes, start, stop, constants))
        for start, stop in itertools.pairwise(ends[1:])
    ]
    for thread in others:
        thread.start()  # a call into C lets other threads run
    step(count, *tensors, sizes, ends[0], ends[1], constants)
    for thread in others:
        thread.join()


@functools.cache
def library() -> ctypes.CDLL:
    """adamw.c, built for this machine's own instructions in a folder that is gone again when this returns: a tenth of a second."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        built = Path(folder) / "adamw.so"
        command = [require_compiler(), *FLAGS, "-o", str(built), str(SOURCE), "-lm"]
        tried = subprocess.run([*command, "-march=native"], capture_output=True, text=True)
        if tried.returncode:
            tried = subprocess.run(command, capture_output=True, text=True)
        if tried.returncode:
            raise ConfigError(
                f"{command[0]} could not build AdamW's step; leave compile=False. It says:\n{tried.stderr.strip()}"
            )
        loaded = ctypes.CDLL(str(built))
    for name in FUNCTIONS.values():
        function = getattr(loaded, name)
        function.restype = None
        function.argtypes = [
            ctypes.c_int64,
            *[ctypes.POINTER(ctypes.c_void_p)] * 4,
            ctypes.POINTER(ctypes.c_int64),
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.POINTER(ctypes.c_double),
        ]
    return loaded


@functools.cache
def compiled_update() -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]:
    """The step on flat tensors of any length, compiled by torch at its first call."""
    compiled: Callable[..., None] = torch.compile(
        update_by_tensor, dynamic=True, fullgraph=True, backend=BACKEND
    )
    return compiled


def update_by_tensor(p: Tensor, grad: Tensor, m: Tensor, v: Tensor, numbers: Tensor) -> None:
    """adamw.py's definition; its constants come as a tensor, for a new Python number would be compiled anew."""
    keep, _, new_m, beta2, new_v, root, eps, step_size = numbers.to(p.dtype).unbind()
    p.mul_(keep)
    m.lerp_(grad, new_m)
    v.mul_(beta2).addcmul_(grad, grad * new_v)
    denominator = v.sqrt().div_(root).add_(eps)
    p.addcdiv_(m * -step_size, denominator)
