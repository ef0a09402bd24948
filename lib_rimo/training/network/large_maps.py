"""From which size on a map counts as large; without PyTorch, which loads too slowly to estimate."""

MANY_POSITIONS = 1024
"""Over maps of more positions what goes into a gate is computed again, not kept.

512x512 pixels have 4096 positions at the finest level.
"""
