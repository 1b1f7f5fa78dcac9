"""Readers, one module a format family, each with `read(path, source, config)`.

A reader is imported when the first file of its format is read. `office`, `package` and `rows` hold
what several readers share.
"""
