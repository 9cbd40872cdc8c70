"""The random stream of a frame: a pure function of (manifest seed, frame key, translator fingerprint).

Philox is counter-based: keyed per frame it gives every frame its own independent stream, whatever worker draws
it and in whatever order. The alternative, one generator per worker, makes the corpus depend on scheduling.
Keying costs one BLAKE2b of under 200 bytes, about 2 microseconds.
Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["frame_generator", "frame_words", "generator_of", "unit_interval"]


def frame_words(seed: int, key: str, fingerprint: str = "") -> tuple[int, int]:
    """Return the two unsigned 64-bit words that key the random stream of one frame.

    ``seed`` is the manifest's (any Python integer), ``key`` the frame's, ``fingerprint`` the translator's. Fields
    are length-prefixed, so no two different triples hash the same text.
    """
    digest = hashlib.blake2b(digest_size=16, person=b"depthforge-frame")
    for field in (str(int(seed)), key, fingerprint):
        encoded = field.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    raw = digest.digest()
    return int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")


def frame_generator(seed: int, key: str, fingerprint: str = "") -> np.random.Generator:
    """Return a NumPy generator (Philox 4x64) for one frame; see :func:`frame_words`."""
    return generator_of(frame_words(seed, key, fingerprint))


def generator_of(words: tuple[int, int]) -> np.random.Generator:
    """Return the NumPy generator (Philox 4x64) that two unsigned 64-bit ``words`` key."""
    return np.random.Generator(np.random.Philox(key=np.array(words, dtype=np.uint64)))


def unit_interval(seed: int, key: str, purpose: str) -> float:
    """Return a number in [0, 1) that depends only on its arguments: for splits and other stable choices."""
    return (frame_words(seed, key, purpose)[0] >> 11) / float(1 << 53)
