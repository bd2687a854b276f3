"""Rooflines: entries read, or read and written, at places known beforehand, and nothing else."""

from kernels.jit import njit
from kernels.prefetch import prefetch, prefetch_to_write

_AHEAD = 32


@njit
def gather_words(words, places, out):
    for i in range(places.size):
        out[i] = words[places[i]]


@njit
def gather_words_ahead(words, places, out):
    for i in range(places.size):
        prefetch(words.reshape(1, words.size), 0, places[min(i + _AHEAD, places.size - 1)])
        out[i] = words[places[i]]


@njit
def gather_pairs(pairs, places, out):
    for i in range(places.size):
        out[i, 0] = pairs[places[i], 0]
        out[i, 1] = pairs[places[i], 1]


@njit
def gather_pairs_ahead(pairs, places, out):
    for i in range(places.size):
        prefetch(pairs, places[min(i + _AHEAD, places.size - 1)], 0)
        out[i, 0] = pairs[places[i], 0]
        out[i, 1] = pairs[places[i], 1]


@njit
def flip(words, places, pairs, pair_places):
    """Invert the words and pairs at the places; twice leaves them as they were."""
    for i in range(places.size):
        words[places[i]] = ~words[places[i]]
        pairs[pair_places[i], 0] = ~pairs[pair_places[i], 0]
        pairs[pair_places[i], 1] = ~pairs[pair_places[i], 1]


@njit
def flip_ahead(words, places, pairs, pair_places):
    """Do what :func:`flip` does, with the lines asked for ahead."""
    for i in range(places.size):
        ahead = min(i + _AHEAD, places.size - 1)
        prefetch_to_write(words.reshape(1, words.size), 0, places[ahead])
        prefetch_to_write(pairs, pair_places[ahead], 0)
        words[places[i]] = ~words[places[i]]
        pairs[pair_places[i], 0] = ~pairs[pair_places[i], 0]
        pairs[pair_places[i], 1] = ~pairs[pair_places[i], 1]
