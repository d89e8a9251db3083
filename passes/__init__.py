"""The rewrites. They are imported as ``onnxslim.passes``; one family a folder, one pass a file."""

if __name__ != "onnxslim.passes":
    # A second copy under another name would register nothing and shadow a user's own passes.py.
    raise ImportError(f"import this package as onnxslim.passes, not as {__name__}")
