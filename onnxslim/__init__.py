"""An ONNX compiler that makes trained models smaller and faster on CPUs, and proves what it did."""
