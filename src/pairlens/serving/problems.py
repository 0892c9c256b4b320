"""Errors as answers: problem+json (RFC 9457) with the sentence that the command line prints."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.responses import Response

from pairlens.collection.collection_model import NoModelError
from pairlens.core.memory import is_out_of_memory
from pairlens.core.untrusted import strip_control_characters

PROBLEM_TYPE = "application/problem+json"
# A caller that is told to come again waits this long.
RETRY_SECONDS = 1
_LOG = logging.getLogger("pairlens.serving")


class Problem(HTTPException):
    """A request that cannot be answered, with the status and the sentence of the answer."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, sentence, dict(headers or {}))


def busy(sentence: str) -> Problem:
    """Return the problem of a request that may be repeated a moment later."""
    return Problem(503, sentence, {"retry-after": str(RETRY_SECONDS)})


def as_problem(error: Exception) -> Problem:
    """Return what a caller is told about an exception; a fault of Pairlens is logged with its traceback."""
    sentence = strip_control_characters(str(error)).replace("\n", " ").strip() or type(error).__name__
    match error:
        case Problem():
            return error
        case HTTPException():
            return Problem(error.status_code, str(error.detail), error.headers)
        case FileNotFoundError():
            return Problem(404, sentence)
        case NoModelError():
            return Problem(409, sentence)
        case _ if is_out_of_memory(error):
            return busy("there is not enough memory for this request now; send a smaller photo, or try again")
        case ValueError():
            return Problem(422, sentence)
        case OSError():
            # A full disk or a database that cannot be reached; the same request may work later.
            _LOG.error("a request failed: %s", sentence)
            return busy(sentence)
    _LOG.error("a request failed", exc_info=error)
    return Problem(500, "a fault of Pairlens; its log has the traceback")


def problem_response(problem: HTTPException) -> Response:
    """Return a problem as an answer.

    >>> problem_response(Problem(404, "there is no photo 7")).body
    b'{"type":"about:blank","title":"Not Found","status":404,"detail":"there is no photo 7"}'
    """
    status = problem.status_code
    contents = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": str(problem.detail),
    }
    headers = {"cache-control": "no-store", **(problem.headers or {})}
    text = json.dumps(contents, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), status, headers, PROBLEM_TYPE)
