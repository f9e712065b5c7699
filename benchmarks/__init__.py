"""Side-by-side timings against what people use today; each a ratio measured in one run."""
