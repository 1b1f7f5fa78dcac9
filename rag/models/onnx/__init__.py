"""A model as an ONNX graph for the CPU: made once from its own weights, quantized, run."""
