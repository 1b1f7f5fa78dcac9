"""What `benchmarks/fuzzing.py` feeds with inputs: a target for each parser of what is not ours."""
