"""OpenAI's routes: chat completions, responses, embeddings, files and vector stores.

A collection is a model `rag/NAME` and a vector store `vs_NAME`. Citations are annotations with
OpenAI's fields and our own beside them: the quote, its place in the document, and how far it bears
the sentence out. All offsets count code points, half open.
"""

from rag.serving.http.openai.chat import ChatBody, complete_chat, list_models, read_model
from rag.serving.http.openai.embeddings import EmbeddingsBody, embed
from rag.serving.http.openai.responses import ResponsesBody, respond
from rag.serving.http.openai.stores import (
    StoreBody,
    StoreFileBody,
    StoreSearchBody,
    add_store_file,
    list_files,
    list_store_files,
    list_stores,
    make_store,
    read_file,
    read_file_content,
    read_store,
    read_store_file,
    remove_file,
    remove_store_file,
    search_store,
    upload_file,
)

__all__ = [
    "ChatBody",
    "EmbeddingsBody",
    "ResponsesBody",
    "StoreBody",
    "StoreFileBody",
    "StoreSearchBody",
    "add_store_file",
    "complete_chat",
    "embed",
    "list_files",
    "list_models",
    "list_store_files",
    "list_stores",
    "make_store",
    "read_file",
    "read_file_content",
    "read_model",
    "read_store",
    "read_store_file",
    "remove_file",
    "remove_store_file",
    "respond",
    "search_store",
    "upload_file",
]
