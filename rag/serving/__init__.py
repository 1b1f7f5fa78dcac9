"""A RAG that others reach: the daemon that keeps models loaded between commands."""
