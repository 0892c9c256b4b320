"""The application: a collection, the routes, and the checks that every request passes first."""

import asyncio
import gc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp

from pairlens.collection.collection import Collection
from pairlens.serving import api_collection, api_photos, api_search
from pairlens.serving.access import AccessCheck
from pairlens.serving.limits import RequestLimits, UnderWay
from pairlens.serving.memory_at_rest import give_back_at_rest
from pairlens.serving.metrics import Metrics
from pairlens.serving.page_routes import page_problem, page_routes
from pairlens.serving.problems import Problem, as_problem, problem_response
from pairlens.serving.query_folder import query_folder
from pairlens.serving.response_headers import AnswerHeaders
from pairlens.serving.schemas import ProblemAnswer
from pairlens.serving.service import CollectionService
from pairlens.serving.serving_state import ServingState
from pairlens.serving.settings import ServingSettings

_DESCRIPTION = "Search a collection of photos with a photo. Errors are problem+json, each with one sentence."


def make_app(settings: ServingSettings, collection: Collection | None = None) -> ASGIApp:
    """Return the ASGI application of a collection; it is opened when the server starts, unless an open one is given."""
    metrics, under_way = Metrics(), UnderWay()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # `run_server` gives all of its processes one folder; an application in another server has its own.
        given = nullcontext(settings.folder) if settings.folder else query_folder()
        with given as folder:
            own = replace(settings, folder=str(folder))
            opened = collection if collection is not None else _opened(own)
            service = CollectionService(opened, own, metrics)
            threads = ThreadPoolExecutor(own.limits.bodies, "pairlens requests")
            app.state.serving = ServingState(service, own, metrics, under_way, threads)
            async with _running(app.state.serving):
                yield

    app = FastAPI(
        title="Pairlens",
        description=_DESCRIPTION,
        lifespan=lifespan,
        # Their pages fetch scripts from the network.
        docs_url=None,
        redoc_url=None,
        responses={"default": {"model": ProblemAnswer, "content": {"application/problem+json": {}}}},
        redirect_slashes=False,
    )
    for routes in (api_search.routes, api_photos.routes, api_collection.routes, page_routes(settings)):
        app.include_router(routes)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    for kind in (HTTPException, ValueError, OSError, MemoryError, Exception):
        app.add_exception_handler(kind, _answer_error)
    checked: ASGIApp = RequestLimits(app, settings.limits, under_way)
    return AnswerHeaders(AccessCheck(checked, settings), metrics)


@asynccontextmanager
async def _running(state: ServingState) -> AsyncIterator[None]:
    """Answer requests between a start that makes the first one fast and an end that finishes those under way."""
    state.service.warm_up()
    # What the libraries have loaded stays; looking through it for cycles would stop every thread for a moment.
    gc.collect()
    gc.freeze()
    resting = asyncio.create_task(give_back_at_rest(state.under_way))
    yield
    resting.cancel()
    gc.unfreeze()
    # Whoever has called is answered first.
    state.threads.shutdown()
    state.service.close()


def _opened(settings: ServingSettings) -> Collection:
    location = settings.location if "://" in settings.location else Path(settings.location)
    return Collection.open(location, wait=settings.wait, read_only=settings.read_only)


def _answer_error(request: Request, error: Exception) -> Response:
    problem = as_problem(error)
    if problem.status_code == 405:
        problem = _wrong_method(request)
    return page_problem(request, problem) or problem_response(problem)


def _wrong_method(request: Request) -> Problem:
    """Return the problem with all methods of the path; each route by itself knows only its own."""
    described: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    allowed = [
        method.upper()
        for path, methods in described.items()
        if compile_path(path)[0].match(request.url.path)
        for method in methods
    ]
    names = ", ".join(sorted(set(allowed))) or "GET, POST"
    return Problem(405, f"{request.method} has no meaning here; use {names}", {"allow": names})


def _answer_validation(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return _answer_error(
        request, Problem(422, f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}; see /openapi.json")
    )
