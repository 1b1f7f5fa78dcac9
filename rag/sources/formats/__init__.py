"""One file a format family, each with `read(path, source, config)`; imported when needed."""
