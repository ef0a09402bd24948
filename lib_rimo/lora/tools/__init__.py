"""What is made of LoRA files: merged, resized, extracted, converted, and their cards' words."""
