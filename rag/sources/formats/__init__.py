"""One room a format family, each with `read(path, source, config)`; imported when needed.

`office`, `package` and `rows` hold what several of them share.
"""
