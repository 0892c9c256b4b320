"""The parts of `benches/gpu.py`: each has one function `measure(context)`."""
