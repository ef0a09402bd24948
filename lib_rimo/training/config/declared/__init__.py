"""The options of a training by group, a module each; each option stands here and nowhere else."""
