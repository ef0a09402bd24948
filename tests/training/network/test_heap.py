"""Memory that is free in this process and not in use."""

import ctypes

import psutil
import pytest
import torch

from lib_rimo.training.network import heap

MANY = 2000
SIZE = 16384  # floats: 64 KiB, which the C library never asks the system for one by one


@pytest.mark.skipif(heap._malloc_trim() is None, reason="needs glibc's malloc_trim")
def test_gaps_are_given_back():
    tensors = [torch.ones(SIZE) for _ in range(MANY)]
    kept = tensors[::2]
    del tensors
    before = psutil.Process().memory_info().rss
    heap.give_back_gaps()
    given_back = before - psutil.Process().memory_info().rss
    assert given_back > 0.8 * MANY / 2 * SIZE * 4
    assert all((tensor == 1).all() for tensor in kept)


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_other_systems_go_without(error, monkeypatch):
    def fail(_):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fail)
    heap._malloc_trim.cache_clear()
    try:
        heap.give_back_gaps()
        assert heap._malloc_trim() is None
    finally:
        heap._malloc_trim.cache_clear()
