"""`rag serve`: the same questions over HTTP, for OpenAI's clients, agents and a web page.

`application` puts together what the others do: `access` (who may enter), `collections` (what there
is), `work` (threads and their bounds), `native` and `openai` (the routes), `jobs` and `uploads`
(what is added), `upstream` (another server's answers, checked), `page` (what a browser shows).
"""

from rag.serving.http.access import (
    User,
    hash_token,
    load_users,
    make_token,
    read_users,
    write_users,
)
from rag.serving.http.application import make_app
from rag.serving.http.running import serve

__all__ = [
    "User",
    "hash_token",
    "load_users",
    "make_app",
    "make_token",
    "read_users",
    "serve",
    "write_users",
]
