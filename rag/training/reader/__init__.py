"""Train the reader: a small model that marks the answer in passages, or says there is none.

    python -m rag.training.reader CONFIG.toml --data DIRECTORY --output DIRECTORY

`data` and what it calls make the examples, `model` is the network and its loss, `train` the loop,
`export` writes what ships.
"""
