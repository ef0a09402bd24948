"""Twenty training pictures from five."""
