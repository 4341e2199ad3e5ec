"""Random numbers as a function, not a state: `uniform(seed, row, position)`.

A row's numbers depend on nothing but their own address, so its text is the same alone and in any
batch, in whatever order the rows are worked on, and any single token can be drawn again by itself.

Philox4x64-10, the counter-based generator of Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3", https://doi.org/10.1145/2063384.2063405, section 3.3: key (seed, row), counter (position, 0, 0, 0).
"""

_MASK = 2**64 - 1
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)  # the golden ratio and sqrt(3) - 1, as in the paper
_ROUNDS = 10


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Four independent 64-bit words for a 256-bit counter and a 128-bit key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (second >> 64) ^ c1 ^ k0, second & _MASK, (first >> 64) ^ c3 ^ k1, first & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def uniform(seed: int, row: int, position: int) -> float:
    """The number in [0, 1) for one token: a multiple of 2**-53. All three arguments lie in 0 .. 2**64 - 1."""
    word = philox((position, 0, 0, 0), (seed, row))[0]
    return (word >> 11) * 2.0**-53
