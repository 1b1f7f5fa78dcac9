"""LlamaIndex: a retriever, a query engine and a vector store over an index.

Positions count Unicode code points, half open: `document.text[start:end]`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rag.engine import RAG
from rag.errors import ConfigError, QuestionError
from rag.integrations.passages import (
    Passage,
    Where,
    cite,
    describe_hits,
    find_passages,
    is_text,
    judge,
    remove_texts,
    select,
)
from rag.types import Answer, Document

try:
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.base.response.schema import Response
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.prompts.mixin import PromptMixinType
    from llama_index.core.schema import (
        BaseNode,
        MetadataMode,
        NodeRelationship,
        NodeWithScore,
        QueryBundle,
        RelatedNodeInfo,
        TextNode,
    )
    from llama_index.core.vector_stores.types import (
        BasePydanticVectorStore,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
        VectorStoreQueryResult,
    )
    from llama_index.core.vector_stores.utils import (
        build_metadata_filter_fn,
        metadata_dict_to_node,
        node_to_metadata_dict,
    )
except ModuleNotFoundError as error:
    raise ConfigError(
        f"rag.integrations.llamaindex needs `{error.name}`: pip install 'checkable-rag[llamaindex]'"
    ) from error

__all__ = ["RagQueryEngine", "RagRetriever", "RagVectorStore"]

# A model that reads or embeds a node gains nothing from these.
_PLACES = ["start", "end", "line", "document_id", "score"]
_MODES = ("DEFAULT", "HYBRID", "SEMANTIC_HYBRID", "TEXT_SEARCH", "SPARSE")


class RagRetriever(BaseRetriever):
    """Finds the passages of an index that fit a query, with their exact places.

    A node's `start_char_idx` and `end_char_idx` are its place in the document, which is its SOURCE.
    Its metadata are those of the file or text, with `source`, `title`, `page`, `line`, `heading`,
    `start`, `end`, `document_id` and `score` as far as there are such.

    Args:
        rag: the index.
        k: how many passages to find; None takes `retrieval.top_k` of the settings.
        where: a filter on documents, such as `type:pdf`.
        callback_manager: LlamaIndex's.
    """

    def __init__(
        self,
        rag: RAG,
        *,
        k: int | None = None,
        where: Where = "",
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self.rag = rag
        self.k = k
        self.where = where
        super().__init__(callback_manager=callback_manager)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = find_passages(self.rag, query_bundle.query_str, self.k, self.where)
        return [_scored(each) for each in found]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


class RagQueryEngine(BaseQueryEngine):
    """Answers a query from an index, and says where each sentence of the answer stands.

    The `source_nodes` of a response are the passages that were read. Its `metadata` say whether the
    documents hold an answer (`abstained`), how sure it is, and as `citations` what each sentence
    rests on: `response[start_index:end_index]` is the sentence, and `quote` what stands at
    `document_start` to `document_end` of the document.

    Args:
        rag: the index.
        k: how many passages to read; None takes `retrieval.top_k` of the settings.
        where: a filter on documents, such as `type:pdf`.
        callback_manager: LlamaIndex's.
    """

    def __init__(
        self,
        rag: RAG,
        *,
        k: int | None = None,
        where: Where = "",
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self.rag = rag
        self.k = k
        self.where = where
        super().__init__(callback_manager=callback_manager)

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}

    def retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Find the passages that an answer would be made of."""
        found: list[NodeWithScore] = RagRetriever(
            self.rag, k=self.k, where=self.where, callback_manager=self.callback_manager
        ).retrieve(query_bundle)
        return found

    def _query(self, query_bundle: QueryBundle) -> Response:
        return self._response(self.rag.ask(query_bundle.query_str, self.k, self.where))

    async def _aquery(self, query_bundle: QueryBundle) -> Response:
        answer = await self.rag.aask(query_bundle.query_str, self.k, self.where)
        return await asyncio.to_thread(self._response, answer)

    def _response(self, answer: Answer) -> Response:
        return Response(
            response=answer.text,
            source_nodes=[_scored(each) for each in describe_hits(self.rag, answer.prompt.hits)],
            metadata={**judge(answer), "citations": cite(self.rag, answer)},
        )


class RagVectorStore(BasePydanticVectorStore):
    """An index as a vector store: nodes are added as texts, and found beside files.

    The index embeds and searches by itself, by meaning and by words whatever the mode, so that the
    vectors of nodes and queries are not used: give LlamaIndex a `MockEmbedding`. A node that was
    added, and is found as a whole, comes back as it was. LlamaIndex's filters are tried on every
    document; the filter for a large index is `RagVectorStore(rag, where=...)`.

    Args:
        rag: the index, which need not exist yet.
        where: a filter on documents that all searches keep, such as `type:pdf`.
    """

    stores_text: bool = True
    is_embedding_query: bool = False
    where: str = ""
    _rag: RAG = PrivateAttr()

    def __init__(self, rag: RAG, *, where: str = "") -> None:
        super().__init__(stores_text=True, is_embedding_query=False, where=where)
        self._rag = rag

    @classmethod
    def class_name(cls) -> str:
        """Return the name by which LlamaIndex knows the class."""
        return "RagVectorStore"

    @property
    def client(self) -> RAG:
        """The index."""
        return self._rag

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Index nodes, and return their ids; one of a known id takes the place of the former."""
        chosen = {node.node_id: node for node in nodes}
        ids = self._rag.add_texts(
            [node.get_content(metadata_mode=MetadataMode.NONE) for node in chosen.values()],
            ids=list(chosen),
            metadata=[node_to_metadata_dict(node, remove_text=True) for node in chosen.values()],
        )
        return list(ids)

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Return the nodes that were added, or those of these ids that pass filters."""
        if not self._rag.exists():
            return []
        passes = _predicate(filters)
        return [
            _node(document)
            for document in self._rag.documents(node_ids)
            if is_text(document) and passes(document)
        ]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Remove the nodes of a document."""
        self._remove(lambda document: document.metadata.get("ref_doc_id") == ref_doc_id)

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Remove the nodes of these ids, and of those the ones that pass filters."""
        if filters is None and node_ids is not None:
            remove_texts(self._rag, node_ids)
            return
        if filters is None:
            raise QuestionError("delete_nodes: name the nodes or filters; `clear` removes all")
        named, passes = None if node_ids is None else set(node_ids), _predicate(filters)
        self._remove(lambda each: (named is None or each.id in named) and passes(each))

    def clear(self) -> None:
        """Remove all nodes that were added; documents of files stay."""
        remove_texts(self._rag, None)

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Find the best nodes and passages for the text of a query.

        Raises:
            QuestionError: if it has no text, or is of a mode that searches otherwise.
        """
        if query.mode not in [VectorStoreQueryMode[name] for name in _MODES]:
            raise QuestionError(f"RagVectorStore: does not search in mode {query.mode}")
        if not query.query_str:
            raise QuestionError("RagVectorStore: searches for the text of a query, which has none")
        if not self._rag.exists():
            return VectorStoreQueryResult(nodes=[], similarities=[], ids=[])
        where: str | None = self.where
        nodes, of_documents = set(query.node_ids or ()), set(query.doc_ids or ())
        if query.filters is not None or nodes or of_documents:
            passes = _predicate(query.filters)

            def is_chosen(document: Document) -> bool:
                # LlamaIndex passes empty lists where nothing is chosen.
                named = not nodes or document.id in nodes
                owner = document.metadata.get("ref_doc_id")
                return named and (not of_documents or owner in of_documents) and passes(document)

            where = select(self._rag, is_chosen, self.where)
        found: list[Passage] = []
        if where is not None:
            found = find_passages(self._rag, query.query_str, query.similarity_top_k, where)
        given = [_stored(each) for each in found]
        return VectorStoreQueryResult(
            nodes=given,
            similarities=[each.score for each in found],
            ids=[node.node_id for node in given],
        )

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Index nodes, in a thread."""
        return await asyncio.to_thread(self.add, nodes)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Remove the nodes of a document, in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Find the best nodes and passages, in a thread."""
        return await asyncio.to_thread(self.query, query)

    def _remove(self, passes: Any) -> None:
        if self._rag.exists():
            found = [each.id for each in self._rag.documents() if is_text(each) and passes(each)]
            remove_texts(self._rag, found)


def _scored(passage: Passage) -> NodeWithScore:
    return NodeWithScore(node=_located(passage), score=passage.score)


def _located(passage: Passage) -> TextNode:
    document = passage.document
    metadata = {name: value for name, value in passage.metadata.items() if name[:6] != "_node_"}
    return TextNode(
        id_=passage.id,
        text=passage.text,
        metadata=metadata,
        start_char_idx=passage.start,
        end_char_idx=passage.end,
        relationships={
            NodeRelationship.SOURCE: RelatedNodeInfo(
                node_id=document.id,
                metadata={"source": document.source, "title": document.title},
            )
        },
        excluded_embed_metadata_keys=_PLACES,
        excluded_llm_metadata_keys=_PLACES,
    )


def _stored(passage: Passage) -> BaseNode:
    """Return a node as it was added, if it is found as a whole."""
    return _node(passage.document) if passage.whole else _located(passage)


def _node(document: Document) -> BaseNode:
    if "_node_content" in document.metadata:
        node: BaseNode = metadata_dict_to_node(dict(document.metadata), text=document.text)
        return node
    return TextNode(id_=document.id, text=document.text, metadata=dict(document.metadata))


def _predicate(filters: MetadataFilters | None) -> Any:
    def passes(document: Document) -> bool:
        fits: bool = build_metadata_filter_fn(lambda _: document.metadata, filters)(document.id)
        return fits

    return passes
