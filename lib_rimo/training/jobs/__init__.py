"""One training and many as processes of their own, and what they tell."""
