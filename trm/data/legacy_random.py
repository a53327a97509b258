"""NumPy's legacy random stream (MT19937, as `np.random.seed` starts it) for numba loops.

The published datasets are defined by this stream. Legacy `randint` and `shuffle` are masked
rejection on 32-bit words: words are cut to the bits of the largest value wanted and drawn again
while too large; a range of one value draws nothing. (numpy/random: `random_interval`.)
"""

from __future__ import annotations

import numpy as np

from trm.errors import TrmError
from trm.runtime.jit import compiled

WORDS = 624
_SHIFT = 397
_UPPER, _LOWER, _MATRIX = np.uint64(0x80000000), np.uint64(0x7FFFFFFF), np.uint64(0x9908B0DF)
_TEMPER_B, _TEMPER_C = np.uint64(0x9D2C5680), np.uint64(0xEFC60000)
_ONE = np.uint64(1)


def legacy_stream(seed: int) -> np.ndarray:
    """The state [625] uint32 (624 words, then the position) that `np.random.seed(seed)` sets."""
    if not 0 <= seed < 2**32:
        raise TrmError(f"seed {seed} is outside 0..{2**32 - 1}")
    _, words, position, *_ = np.random.RandomState(seed).get_state()
    return np.append(words, np.uint32(position)).astype(np.uint32)


@compiled
def _refill(state: np.ndarray) -> None:
    for i in range(WORDS):
        y = (np.uint64(state[i]) & _UPPER) | (np.uint64(state[(i + 1) % WORDS]) & _LOWER)
        word = np.uint64(state[(i + _SHIFT) % WORDS]) ^ (y >> _ONE)
        if y & _ONE:
            word ^= _MATRIX
        state[i] = word
    state[WORDS] = 0


@compiled
def next_word(state: np.ndarray) -> np.uint64:
    """The next 32-bit word of the stream."""
    if state[WORDS] == WORDS:
        _refill(state)
    y = np.uint64(state[state[WORDS]])
    state[WORDS] += 1
    y ^= y >> np.uint64(11)
    y ^= (y << np.uint64(7)) & _TEMPER_B
    y ^= (y << np.uint64(15)) & _TEMPER_C
    return y ^ (y >> np.uint64(18))


@compiled
def below(state: np.ndarray, count: int) -> int:
    """Draw as `np.random.randint(0, count)` does."""
    largest = np.uint64(count - 1)
    if largest == np.uint64(0):
        return 0
    mask = largest
    for shift in (1, 2, 4, 8, 16):
        mask |= mask >> np.uint64(shift)
    word = next_word(state) & mask
    while word > largest:
        word = next_word(state) & mask
    return np.int64(word)


@compiled
def uniform(state: np.ndarray) -> float:
    """Draw as `np.random.rand()` does: 53 bits from two words."""
    high = np.int64(next_word(state) >> np.uint64(5))
    low = np.int64(next_word(state) >> np.uint64(6))
    return (high * 67108864.0 + low) / 9007199254740992.0


@compiled
def shuffle(state: np.ndarray, values: np.ndarray) -> None:
    """Shuffle values [n] in place as `np.random.shuffle` does."""
    for i in range(len(values) - 1, 0, -1):
        j = below(state, i + 1)
        values[i], values[j] = values[j], values[i]


def permutation(state: np.ndarray, count: int) -> np.ndarray:
    """Draw [count] int64 as `np.random.permutation(count)` does."""
    values = np.arange(count)
    shuffle(state, values)
    return values
