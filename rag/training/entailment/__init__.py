"""Train the judge of claims: does a passage say what a claim says, or otherwise, or nothing?

    python -m rag.training.entailment CONFIG.toml --data DIRECTORY --output DIRECTORY

`makers` and what it calls make the pairs, `model` is the network, `train` feeds the loop,
`calibration` fits the temperature, `export` writes what ships.
"""
