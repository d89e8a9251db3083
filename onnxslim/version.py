"""The version of this distribution, below everything that prints it."""

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Versions of everything that a result depends on."""
    import platform
    from importlib.metadata import version

    packages = {"onnxslim": "onnxslim-compiler"} | {n: n for n in ("onnx", "onnx-ir", "onnxruntime", "numpy")}
    return {"python": platform.python_version()} | {name: version(package) for name, package in packages.items()}
