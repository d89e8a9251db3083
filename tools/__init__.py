"""Benchmarks and other helpers of the repository; nothing here is installed."""
