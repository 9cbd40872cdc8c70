"""The random stream of a frame: a pure function of (manifest seed, frame key, translator fingerprint).

Philox is counter-based: keyed per frame it gives every frame its own independent stream, whatever worker draws
it and in whatever order. The alternative, one generator per worker, makes the corpus depend on scheduling.
Keying costs two BLAKE2b of under 200 bytes, about 4 microseconds.

What belongs to a scene and to none of its frames, such as a surface that a sensor loses from wherever it is seen, has
words of its own. They travel with the frame's (:class:`FrameWords`), so that whoever hands a frame's words on need not
know of them.
Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["FrameWords", "frame_generator", "frame_words", "generator_of", "scene_words", "unit_interval"]


class FrameWords(tuple[int, int]):
    """The two unsigned 64-bit words that key the random stream of one frame; ``scene`` holds the two of its scene."""

    scene: tuple[int, int]

    def __new__(cls, words: tuple[int, int], scene: tuple[int, int]) -> FrameWords:
        made = super().__new__(cls, words)
        made.scene = scene
        return made

    def __getnewargs__(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (self[0], self[1]), self.scene


def frame_words(seed: int, key: str, fingerprint: str = "") -> FrameWords:
    """Return the two unsigned 64-bit words that key the random stream of one frame, and with them its scene's.

    ``seed`` is the manifest's (any Python integer), ``key`` the frame's, ``fingerprint`` the translator's. Fields
    are length-prefixed, so no two different triples hash the same text. The scene is ``key`` without its last part.
    """
    scene = key.rsplit("/", 1)[0]
    return FrameWords(
        _words(b"depthforge-frame", seed, key, fingerprint), _words(b"depthforge-scene", seed, scene, fingerprint)
    )


def scene_words(words: tuple[int, int]) -> tuple[int, int]:
    """Return the words of the scene that a frame's ``words`` come with; a plain pair is a scene of one frame."""
    return words.scene if isinstance(words, FrameWords) else words


def _words(purpose: bytes, seed: int, key: str, fingerprint: str) -> tuple[int, int]:
    digest = hashlib.blake2b(digest_size=16, person=purpose)
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
    return (_words(b"depthforge-frame", seed, key, purpose)[0] >> 11) / float(1 << 53)
