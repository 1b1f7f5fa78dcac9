"""`rag mcp`: the tools by which an agent searches, reads and checks documents.

`tools` defines them once; they are spoken over standard input and output, or under `/mcp` of
`rag serve`, where each sees what the user's token lets it see.
"""

from rag.serving.mcp.over_http import HttpAgents
from rag.serving.mcp.over_stdio import serve_stdio

__all__ = ["HttpAgents", "serve_stdio"]
