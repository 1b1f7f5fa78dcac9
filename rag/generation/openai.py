"""Generate through any OpenAI-compatible server: vLLM, llama.cpp, TGI, Ollama, or a hosted one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from rag.characters import replace_surrogates
from rag.config import GenerationConfig
from rag.errors import ConfigError, GenerationError
from rag.generation.estimate import estimate_tokens
from rag.generation.keys import authorize, check_url, read_key
from rag.generation.listing import read_listing
from rag.generation.replies import Ending, read_chunk
from rag.generation.requests import chat_request, response_format
from rag.generation.thoughts import ThoughtFilter, thinks_by_name
from rag.parsing import parse_json
from rag.types import Message, Prompt

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

    from rag.generation.bounds import BoundedClient

T = TypeVar("T")

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_REFUSALS = frozenset({400, 404, 405, 422, 501})
_LONGEST_WAIT = 20.0  # seconds
# A whole answer may take so many times as long as the server may be silent.
_TIMES_SILENT = 30
_LONGEST_NAME = 200
# The longest tokens of vocabularies in use are runs of 128 spaces. A template may begin the answer.
_MOST_CHARACTERS_A_TOKEN = 128
_MOST_CHARACTERS = 4096
_DISPENSABLE = ("max_tokens", "temperature", "seed")
_UNSUPPORTED = re.compile(
    "unsupported|not support|unknown|unrecogni[sz]ed|unexpected|extra|not permitted|not allowed"
)
_ABOUT_SCHEMA = re.compile(
    "response_format|schema|grammar|guided|structured|additionalproperties|json mode"
)
_VAGUE = frozenset(
    {"", "{}", "bad request", "invalid request", "unprocessable entity", "unprocessable content"}
)
_LONGEST_SAID = 4096
_NO_ECHO = (
    "reranking by likelihood takes a server whose completions know `echo` and `logprobs`, such as "
    "vLLM: set `retrieval.rerank` to something other than `likelihood`"
)


class _PassingError(Exception):
    """A failure that may have passed by the next attempt."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class _RefusedError(GenerationError):
    """A request that the server refused as it is, with the whole of what it said of it."""

    def __init__(self, reason: str, said: str, *, vague: bool) -> None:
        super().__init__(reason)
        self._said = said.lower()
        self._vague = vague

    def find_cause(self, body: Mapping[str, Any]) -> str:
        """Return the field of a request that this is about, if it can go; empty if there is none.

        A refusal that says nothing may be about the schema, which many servers do not know.
        """
        if _UNSUPPORTED.search(self._said):
            for name in filter(body.__contains__, _DISPENSABLE):
                if re.search(rf"(?<![a-z_]){name}(?![a-z_])", self._said):
                    return name
        about_schema = self._vague or _ABOUT_SCHEMA.search(self._said)
        return "response_format" if about_schema and "response_format" in body else ""


class OpenAIGenerator:
    """A chat model behind a URL. The key is RAG_API_KEY or OPENAI_API_KEY of the environment.

    The key goes to that host alone: a redirect is an error. What the server sends is shown and
    passed on without the key.

    Raises:
        ConfigError: if the key is none, or the URL would show it to everybody on the way.
    """

    def __init__(self, base_url: str, config: GenerationConfig) -> None:
        base_url = base_url.rstrip("/")
        check_url(base_url, plain_http=config.plain_http)
        self._url = base_url if urlsplit(base_url).path else f"{base_url}/v1"
        self._config = config
        self._served_model = config.served_model
        self.max_tokens = config.max_tokens
        self.context_tokens = config.context_tokens
        self._key = read_key()
        self._refused: set[str] = set()
        # Whether answers begin in the middle of thoughts; None while nothing tells.
        self._thinks = {"yes": True, "no": False}.get(config.thinks)
        self._learns = config.thinks == "auto"
        if self._learns and thinks_by_name(self._served_model):
            self._thinks = True

    @property
    def name(self) -> str:
        """Return the served model's name, or the URL while that is unknown."""
        return self._served_model or self._url

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Estimate the tokens from above: the server's tokenizer is out of reach."""
        return estimate_tokens(messages)

    def stream(self, prompt: Prompt) -> Iterator[str]:
        """Yield pieces of the answer as they are written.

        Until the first piece has come, failures that may pass are tried again with growing pauses;
        after that a failure ends the stream.

        A schema is sent along for the server to enforce; a server that refuses it is asked without.
        Thoughts are left out. Text waits for their end where the model is known to begin with them
        and not to say so, or begins as they do.

        Raises:
            GenerationError: if the server cannot be reached, refuses, stops in the middle, or
                gives no answer.
            IncompleteError: if the answer was cut at its limit of tokens or by a filter.
            RetractedError: if what was yielded turns out to be thoughts; asked again, the generator
                knows.
        """
        with self._new_client() as client:
            pieces, first = self._attempt(self._begin, client, prompt)
            with closing(pieces):
                text = self._bound(chain(first, pieces))
                yield from self._key.hide_in_pieces(text) if self._key else text

    def _bound(self, pieces: Iterator[str]) -> Iterator[str]:
        """Yield pieces as long as they may be of so many tokens: what is written is read again."""
        left = _MOST_CHARACTERS + self.max_tokens * _MOST_CHARACTERS_A_TOKEN
        for piece in pieces:
            left -= len(piece)
            if left < 0:
                raise GenerationError(
                    f"{self._url}: wrote more than {self.max_tokens:,} tokens can hold "
                    "(`generation.max_tokens`)"
                )
            yield piece

    def log_likelihood(self, context: str, text: str) -> float:
        """Return the mean log probability of a token of `text` after `context`.

        No chat template is applied. The server's completions have to return the prompt with its log
        probabilities (`echo` and `logprobs`), as vLLM's do. The tokens of `text` are counted from
        the end by their length; one that reaches into `context` counts.

        Raises:
            GenerationError: if the server cannot be reached or does not do this.
        """
        with self._new_client() as client:
            tokens, logs = self._attempt(self._echo, client, context + text)
        counted: list[float] = []
        missing = len(text)
        for token, log in zip(reversed(tokens), reversed(logs), strict=True):
            if missing <= 0 or log is None:
                break
            missing -= len(token)
            counted.append(log)
        if not counted:
            raise GenerationError(f"{self._url}: a likelihood takes a token of each text")
        return math.fsum(counted) / len(counted)

    def _echo(self, client: BoundedClient, text: str) -> tuple[list[str], list[float | None]]:
        """Return the tokens of `text` as the server reads them, with their log probabilities."""
        body = {
            "model": self._model(client),
            "prompt": text,
            # Not every server takes 0; the token that this writes is removed below.
            "max_tokens": 1,
            "temperature": 0,
            "echo": True,
            "logprobs": 1,
        }
        with self._name_failures(client, began=False):
            response = client.post(f"{self._url}/completions", json=body)
        if response.status_code in _REFUSALS:
            reason = f"replied {response.status_code}: {self._reply(response)}"
            raise GenerationError(f"{self._url}: {reason} ({_NO_ECHO})")
        self._check(response)
        try:
            choice = self._json(response)["choices"][0]
            record = choice["logprobs"]
            tokens, logs = record["tokens"][:-1], record["token_logprobs"][:-1]
            whole = choice["text"].startswith(text) and len(tokens) == len(logs)
            if whole and all(map(_is_log, logs)) and all(isinstance(each, str) for each in tokens):
                return tokens, logs
        except (ValueError, LookupError, TypeError, AttributeError):
            pass
        raise GenerationError(f"{self._url}: gave no log probabilities of the prompt ({_NO_ECHO})")

    def _attempt(self, ask: Callable[..., T], client: BoundedClient, what: Any) -> T:
        import tenacity

        attempts = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._config.retries + 1),
            wait=_pause,
            retry=tenacity.retry_if_exception_type(_PassingError),
            reraise=True,
        )
        try:
            return attempts(ask, client, what)
        except _PassingError as error:
            tries = self._config.retries + 1
            raise GenerationError(
                f"{self._url}: {error} ({tries} {'try' if tries == 1 else 'tries'}): "
                "see that the server is running and the URL is right"
            ) from error

    def _begin(self, client: BoundedClient, prompt: Prompt) -> tuple[Generator[str], list[str]]:
        """Ask, without what the server refuses, and read up to the first piece."""
        body = {"model": self._model(client), **chat_request(prompt, self._config)}
        if prompt.schema is not None:
            body["response_format"] = response_format(prompt.schema)
        for name in self._refused & set(body):
            self._leave_out(body, name)
        while True:
            try:
                return self._first_piece(client, body)
            except _RefusedError as error:
                name = error.find_cause(body)
                if not name:
                    raise
            self._leave_out(body, name)

    def _leave_out(self, body: dict[str, Any], name: str) -> None:
        """Remove a field that the server refuses from a request; its limit has a newer name."""
        value = body.pop(name)
        if name == "max_tokens":
            body["max_completion_tokens"] = value
        # Another schema may be one that it takes.
        if name != "response_format":
            self._refused.add(name)

    def _first_piece(
        self, client: BoundedClient, body: dict[str, Any]
    ) -> tuple[Generator[str], list[str]]:
        pieces = self._pieces(client, body)
        first = next(pieces, None)
        return pieces, [] if first is None else [first]

    def _model(self, client: BoundedClient) -> str:
        """Return the model that the settings name, or else the first one listed that chats."""
        if self._served_model:
            return self._served_model
        with self._name_failures(client, began=False):
            response = client.get(f"{self._url}/models")
        # transformers' server fails at its list where it has no hub cache.
        if response.status_code not in _REFUSALS | {500}:
            self._check(response)
        chatting: list[str] = []
        others: list[str] = []
        # A server that has no list may reply anything.
        with suppress(ValueError):
            if response.is_success:
                chatting, others = read_listing(self._json(response))
        if not chatting:
            shown = self._hide(replace_surrogates(", ".join(others[:5])))[:_LONGEST_NAME]
            kinds = f"no model that chats ({shown})" if others else "no model"
            if not response.is_success:
                kinds += f" (replied {response.status_code}: {self._reply(response)})"
            raise GenerationError(f"{self._url}: lists {kinds}: set `generation.served_model`")
        self._served_model = self._hide(replace_surrogates(chatting[0]))[:_LONGEST_NAME]
        if self._learns and thinks_by_name(self._served_model):
            self._thinks = True
        return self._served_model

    def _pieces(self, client: BoundedClient, body: dict[str, Any]) -> Generator[str]:
        finished = False
        ending = Ending()
        thoughts = ThoughtFilter(self._url, begun=self._thinks)
        with self._name_failures(client, began=False):
            request = client.build_request("POST", f"{self._url}/chat/completions", json=body)
            response = client.send(request, stream=True)
        try:
            with self._name_failures(client, began=False):
                if not response.is_success:
                    response.read()
                self._check(response)
            events = self._events(response)
            while not finished:
                data = self._next(events, client, ending, began=thoughts.wrote)
                if data is None:
                    break
                finished = data.strip() == "[DONE]"
                text = self._read(data, ending) if data.strip() and not finished else ""
                if ending.thought:
                    thoughts.set_apart()
                try:
                    piece = thoughts.feed(text)
                finally:
                    self._learn(thoughts)
                if piece:
                    yield piece
        finally:
            response.close()
        finished = finished or ending.known
        waits = not thoughts.wrote
        if rest := thoughts.finish(cut=ending.cut or not finished):
            yield rest
        if not finished:
            if client.timed_out:
                raise GenerationError(self._describe_time(client))
            raise GenerationError(f"{self._url}: the server ended the answer before its end")
        if self._learns and self._thinks and waits and not thoughts.thought and not ending.cut:
            # A whole answer without thoughts: they are switched off, or the server removes them.
            self._thinks = None
        ending.thought = ending.thought or thoughts.thought
        ending.check(self._url, self.max_tokens, wrote=thoughts.wrote)

    def _next(
        self, events: Iterator[str], client: BoundedClient, ending: Ending, *, began: bool
    ) -> str | None:
        """Return the next event's data; None after the last one."""
        try:
            with self._name_failures(client, began=began):
                return next(events, None)
        except (GenerationError, _PassingError):
            # Some servers hang up without a word once the answer is whole.
            if ending.known:
                return None
            raise

    def _learn(self, thoughts: ThoughtFilter) -> None:
        """Remember that the model's answers begin in the middle of thoughts."""
        if self._learns and thoughts.unopened:
            self._thinks = True

    def _events(self, response: httpx.Response) -> Iterator[str]:
        """Yield the data of a stream's events, or the one reply of a server that does not stream.

        Some servers send a stream under another name.
        """
        import httpx
        from httpx_sse import EventSource

        if "text/event-stream" not in response.headers.get("Content-Type", "").lower():
            response.read()
            known = '"choices"' in response.text or '"error"' in response.text
            if response.text.lstrip().startswith("{") and known:
                yield from (response.text, "[DONE]")
                return
            if not re.search("^data:", response.text, re.MULTILINE):
                raise self._misfit(response.text)
            kind = {"Content-Type": "text/event-stream"}
            response = httpx.Response(200, headers=kind, content=response.content)
        yield from (event.data for event in EventSource(response).iter_sse())

    def _read(self, data: str, ending: Ending) -> str:
        try:
            chunk = parse_json(self._hide(data))
            if chunk.get("error"):
                raise GenerationError(f"{self._url}: {self._hide(_message(chunk))}")
            return read_chunk(chunk, ending)
        except (ValueError, AttributeError, LookupError, TypeError) as error:
            raise self._misfit(data) from error

    def _misfit(self, data: str) -> GenerationError:
        shown = self._hide(data)[:80]
        return GenerationError(
            f"{self._url}: sent something other than the chat protocol: {shown!r}"
        )

    def _new_client(self) -> BoundedClient:
        import httpx

        from rag.generation.bounds import BoundedClient

        timeout = httpx.Timeout(self._config.timeout, connect=min(10.0, self._config.timeout))
        headers = authorize(self._key)
        # The URL of a proxy may hold a password, and httpx shows it: its error is not even kept.
        with suppress(httpx.InvalidURL, ValueError):
            # A redirect could lead to a host that the user did not name.
            return BoundedClient(
                max_tokens=self.max_tokens,
                seconds=_TIMES_SILENT * self._config.timeout,
                timeout=timeout,
                headers=headers,
                follow_redirects=False,
            )
        raise ConfigError(
            "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY of the environment holds no URL of a proxy"
        )

    @contextmanager
    def _name_failures(self, client: BoundedClient, *, began: bool) -> Iterator[None]:
        """Turn httpx errors into ours; `began` says whether a piece of the answer has come."""
        import httpx

        from rag.generation.bounds import EndlessError

        try:
            yield
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            raise GenerationError(
                f"{self._url[:_LONGEST_NAME]}: is not a URL that can be asked: {error}"
            ) from error
        except EndlessError as error:
            raise GenerationError(f"{self._url}: {error}") from error
        except httpx.HTTPError as error:
            if client.timed_out:
                raise GenerationError(self._describe_time(client)) from None
            reason = self._hide(_describe(error))
            # Some hold a header that the server sent.
            cause = error if self._hide(str(error)) == str(error) else None
            if began:
                raise GenerationError(
                    f"{self._url}: the connection broke in the middle of the answer ({reason})"
                ) from cause
            raise _PassingError(reason) from cause

    def _describe_time(self, client: BoundedClient) -> str:
        return (
            f"{self._url}: did not end its answer within {client.seconds:,.0f} s, "
            f"{_TIMES_SILENT} times `generation.timeout`"
        )

    def _hide(self, text: str) -> str:
        return self._key.hide_in(text) if self._key else text

    def _json(self, response: httpx.Response) -> Any:
        # Errors of parsing hold the text.
        return parse_json(self._hide(response.text))

    def _check(self, response: httpx.Response) -> None:
        """Raise an error unless the server did what it was asked."""
        if response.is_success:
            return
        reason = f"replied {response.status_code}: {self._reply(response)}"
        if response.is_redirect:
            target = self._hide(response.headers.get("Location", ""))[:200]
            raise GenerationError(
                f"{self._url}: redirects to {target!r}, where no key and no question is sent: give "
                "that URL if it is the right one"
            )
        if response.status_code in _PASSING:
            from rag.generation.bounds import read_retry_after

            after = response.headers.get("Retry-After", "")
            raise _PassingError(reason, read_retry_after(after))
        if response.status_code in (401, 403):
            reason += ": set RAG_API_KEY to a valid key"
        if response.status_code in (400, 422):
            said = self._hide(response.text)[:_LONGEST_SAID]
            vague = self._reply(response).lower().strip(" .!") in _VAGUE
            raise _RefusedError(f"{self._url}: {reason}", said, vague=vague)
        raise GenerationError(f"{self._url}: {reason}")

    def _reply(self, response: httpx.Response) -> str:
        try:
            return self._hide(_message(self._json(response)))
        except ValueError:
            return self._hide(" ".join(response.text.split()))[:200] or response.reason_phrase


def _is_log(value: object) -> bool:
    """Whether a value is a logarithm of a probability; the first token has none."""
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _describe(error: Exception) -> str:
    import httpx

    if isinstance(error, httpx.ConnectError):
        return "cannot be reached"
    if isinstance(error, httpx.TimeoutException):
        return "did not reply in time"
    return str(error).strip() or type(error).__name__


def _message(body: Any) -> str:
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(message).split())[:200]


def _pause(state: RetryCallState) -> float:
    """Return the seconds until the next attempt: what the server asks for, or 0.5, 1, 2, …"""
    failure = state.outcome.exception() if state.outcome else None
    wait = failure.wait if isinstance(failure, _PassingError) else None
    growing = 0.5 * 2.0 ** (state.attempt_number - 1)
    return min(wait if wait is not None else growing, _LONGEST_WAIT)
