"""What only makes the embedded base model. No verb imports it."""
