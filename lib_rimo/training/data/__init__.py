"""Pictures and captions, from a folder to batches of latents."""
