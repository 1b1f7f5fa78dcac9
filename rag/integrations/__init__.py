"""Use an index from other frameworks: `langchain`, `llamaindex` and `haystack`, a module each.

Each module needs the package of its framework, which the extra of the same name installs. Nothing
here imports them: import the module that you want.
"""
