"""Models as ONNX files that run without PyTorch and without Pairlens: the file, its parity check and its model card."""
