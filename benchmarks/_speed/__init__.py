"""The parts of benchmarks/speed.py: what is timed (cases), how (measure, network), in which process (worker), what is shown (report)."""
