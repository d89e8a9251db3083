"""Passes that give a model another interface, type or opset, where somebody asks for it."""
