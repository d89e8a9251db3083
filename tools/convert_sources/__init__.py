"""Models of frameworks that `tools.bench_convert` converts: each function makes one, in its framework's environment."""
