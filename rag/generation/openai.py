"""Generate through any OpenAI-compatible server: vLLM, llama.cpp, TGI, Ollama, or a hosted one."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from rag.characters import replace_surrogates
from rag.config import GenerationConfig
from rag.errors import ConfigError, GenerationError
from rag.generation.estimate import estimate_tokens
from rag.generation.keys import read_key
from rag.generation.requests import chat_request, response_format
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
    """A request that the server refused as it is."""


class OpenAIGenerator:
    """A chat model behind a URL. The key is RAG_API_KEY or OPENAI_API_KEY of the environment.

    The key goes to that host alone: a redirect is an error. What the server sends is shown and
    passed on without the key.

    Raises:
        ConfigError: if the key is none, or the URL would show it to everybody on the way.
    """

    def __init__(self, base_url: str, config: GenerationConfig) -> None:
        base_url = base_url.rstrip("/")
        try:
            # Reading the port checks it.
            _ = urlsplit(base_url).port
        except ValueError as error:
            raise ConfigError(f"{base_url}: is no URL of a server: {error}") from None
        if not (config.plain_http or _is_private(base_url)):
            raise ConfigError(
                f"{base_url}: everybody on the way can read what is sent by http: take https, or "
                "allow it with RAG_GENERATION_PLAIN_HTTP=true (`generation.plain_http`)"
            )
        self._url = base_url if urlsplit(base_url).path else f"{base_url}/v1"
        self._config = config
        self._served_model = config.served_model
        self.max_tokens = config.max_tokens
        self.context_tokens = config.context_tokens
        self._key = read_key()

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

        Raises:
            GenerationError: if the server cannot be reached, refuses, or stops in the middle.
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
        body = {"model": self._model(client), **chat_request(prompt, self._config)}
        if prompt.schema is not None:
            enforced = {**body, "response_format": response_format(prompt.schema)}
            with suppress(_RefusedError):
                return self._first_piece(client, enforced)
        return self._first_piece(client, body)

    def _first_piece(
        self, client: BoundedClient, body: dict[str, Any]
    ) -> tuple[Generator[str], list[str]]:
        pieces = self._pieces(client, body)
        first = next(pieces, None)
        return pieces, [] if first is None else [first]

    def _model(self, client: BoundedClient) -> str:
        """Return the model that the settings name, or else the first that the server lists."""
        if self._served_model:
            return self._served_model
        with self._name_failures(client, began=False):
            response = client.get(f"{self._url}/models")
            self._check(response)
            try:
                name = str(self._json(response)["data"][0]["id"])
                self._served_model = self._hide(replace_surrogates(name))[:_LONGEST_NAME]
            except (ValueError, LookupError, TypeError) as error:
                raise GenerationError(
                    f"{self._url}: lists no model: set `generation.served_model`"
                ) from error
        return self._served_model

    def _pieces(self, client: BoundedClient, body: dict[str, Any]) -> Generator[str]:
        from httpx_sse import EventSource

        began = finished = False
        with self._name_failures(client, began=False):
            request = client.build_request("POST", f"{self._url}/chat/completions", json=body)
            response = client.send(request, stream=True)
        try:
            with self._name_failures(client, began=False):
                if not response.is_success:
                    response.read()
                self._check(response)
            events = EventSource(response).iter_sse()
            while True:
                with self._name_failures(client, began=began):
                    event = next(events, None)
                    if event is None or event.data.strip() == "[DONE]":
                        finished = finished or event is not None
                        break
                    piece, done = self._read(event.data)
                finished = finished or done
                if piece:
                    began = True
                    yield piece
        finally:
            response.close()
        if not finished:
            if client.timed_out:
                raise GenerationError(self._describe_time(client))
            raise GenerationError(f"{self._url}: the server ended the answer before its end")

    def _read(self, data: str) -> tuple[str, bool]:
        try:
            chunk = parse_json(self._hide(data))
            if "error" in chunk:
                raise GenerationError(f"{self._url}: {self._hide(_message(chunk))}")
            choices = chunk.get("choices") or [{}]
            piece = (choices[0].get("delta") or {}).get("content") or ""
            return replace_surrogates(str(piece)), choices[0].get("finish_reason") is not None
        except (ValueError, AttributeError, LookupError, TypeError) as error:
            raise GenerationError(
                f"{self._url}: sent something other than the chat protocol: "
                f"{self._hide(data)[:80]!r}"
            ) from error

    def _new_client(self) -> BoundedClient:
        import httpx

        from rag.generation.bounds import BoundedClient

        timeout = httpx.Timeout(self._config.timeout, connect=min(10.0, self._config.timeout))
        headers = {"Authorization": f"Bearer {self._key.reveal()}"} if self._key else {}
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
            raise _RefusedError(f"{self._url}: {reason}")
        raise GenerationError(f"{self._url}: {reason}")

    def _reply(self, response: httpx.Response) -> str:
        try:
            return self._hide(_message(self._json(response)))
        except ValueError:
            return self._hide(" ".join(response.text.split()))[:200] or response.reason_phrase


def _is_log(value: object) -> bool:
    """Whether a value is a logarithm of a probability; the first token has none."""
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _is_private(url: str) -> bool:
    """Whether what is sent to a URL can be read by nobody else, or never leaves this machine."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return True
    host = parts.hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
