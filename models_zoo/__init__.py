"""Real trained models and a scored task for each."""
