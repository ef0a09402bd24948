"""Fit and keeping of a LoRA's state, and the searches over states."""
