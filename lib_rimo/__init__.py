"""Rimo: from five pictures to a LoRA to a picture, steered block by block."""

__version__ = "0.3.0"
