"""What a training is told to do: options, job files, recipes."""
