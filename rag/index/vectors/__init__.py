"""The caches of vectors: FAISS files of several kinds, how they are made, renewed and searched."""
