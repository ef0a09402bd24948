"""The base model, for training and drawing alike."""
