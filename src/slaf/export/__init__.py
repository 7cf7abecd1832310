"""From a model to a file that another runtime reads: ONNX, ``torch.export``, C, safetensors. Imports surgery and below."""
