"""The caches of vectors: FAISS files of several kinds, made, kept up to date, and searched."""
