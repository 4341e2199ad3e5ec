"""What goes wrong with a request, in OpenAI's form: {"error": {"message", "type", "param", "code"}}."""

import contextlib
from collections.abc import Iterator
from typing import Any

from lm_core.errors import LmCoreError
from lm_tokenizer import TokenizerError

from lm_generate.errors import ContextLengthError, LmGenerateError, NonFiniteLogitsError, PromptError


class Problem(LmGenerateError):
    """An answer other than 200. `param` names the field that is at fault, `code` the kind where OpenAI has a word."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.retry_after = status, param, code, retry_after

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": str(self),
                "type": _TYPES.get(
                    self.status, "invalid_request_error" if self.status < 500 else "server_error"
                ),
                "param": self.param,
                "code": self.code,
            }
        }

    def headers(self) -> dict[str, str]:
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.status in (408, 413, 415):  # the rest of the body is not read
            headers["connection"] = "close"
        return headers | ({"www-authenticate": "Bearer"} if self.status == 401 else {})


_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> Problem:
    return Problem(400, message, param=param, code=code)


def as_problem(error: Exception, fields: tuple[str, ...] = ()) -> Problem | None:
    """The answer to what the libraries raise for a request's own fault; None for a fault of ours.

    A message that begins with one of `fields` is about that field.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, NonFiniteLogitsError | LmCoreError):
        return Problem(500, str(error))
    if isinstance(error, ContextLengthError):
        message = str(error).replace('(past_context="roll", --roll)', '("roll": true)')
        return bad_request(message, "max_tokens", "context_length_exceeded")
    if isinstance(error, TokenizerError | PromptError):
        return bad_request(str(error), "prompt")
    if isinstance(error, LmGenerateError):
        message = str(error)
        if message.startswith("json_schema"):
            return bad_request(message, "response_format" if "response_format" in fields else None)
        return bad_request(message, next((name for name in fields if message.startswith(name)), None))
    return None


@contextlib.contextmanager
def told(fields: tuple[str, ...] = ()) -> Iterator[None]:
    """Raises what `as_problem` makes of an error instead of it; a fault of ours goes on as it is."""
    try:
        yield
    except Exception as error:
        problem = as_problem(error, fields)
        if problem is None or problem is error:
            raise
        raise problem from error
