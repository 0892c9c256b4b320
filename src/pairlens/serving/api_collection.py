"""The routes of the API about the collection as a whole, and about the server."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from pairlens.serving.answers import collection_answer
from pairlens.serving.filter_values import plain_filters
from pairlens.serving.map_layout import plain_map
from pairlens.serving.metrics import open_descriptors, resident_bytes
from pairlens.serving.picture_answers import picture_answer, view_of
from pairlens.serving.serving_state import state_of

routes = APIRouter()


@routes.get("/api/collection", summary="Describe the collection")
async def collection(request: Request) -> Response:
    """Return its numbers of photos and labels, its model, its size and its calibration."""
    state = state_of(request)
    service = state.service
    about = await state.run(collection_answer, service.collection, service.name, state.settings.read_only)
    return JSONResponse(about)


@routes.get("/api/labels", summary="List the labels")
async def labels(request: Request) -> Response:
    """Return all labels with their numbers of photos, most frequent first; null is the missing label."""
    state = state_of(request)
    counted = await state.run(state.service.store.labels)
    return JSONResponse([{"label": label, "count": count} for label, count in counted.items()])


@routes.get("/api/filters", summary="List what can be filtered by")
async def filters(request: Request) -> Response:
    """Return labels, and the values of the metadata, with their numbers of photos; a few seconds behind changes."""
    state = state_of(request)
    return JSONResponse(plain_filters(await state.run(state.service.filters.wait)))


@routes.get(
    "/api/map", responses={202: {"description": "it is being computed; ask again"}}, summary="The map of the collection"
)
async def embedding_map(request: Request) -> Response:
    """Return photos laid out in the plane, similar ones near each other."""
    state = state_of(request)
    layout = await state.run(state.service.map.get)
    if layout is None:
        return JSONResponse({"status": "computing"}, 202, {"retry-after": "1"})
    return JSONResponse(await state.run(plain_map, layout))


@routes.get(
    "/api/queries/{digest}",
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}, "description": "a picture"}
    },
    summary="A photo that was searched with",
)
async def query_photo(request: Request, digest: str) -> Response:
    """Return a JPEG of a photo that was searched with, which is kept for a day."""
    state = state_of(request)

    def picture() -> Response:
        contents = state.service.query_photos.read(digest)
        view = state.service.lanes.run(contents, lambda: view_of(contents))
        return picture_answer(view, request.headers.get("if-none-match"), digest, digest)

    return await state.run(picture)


@routes.get("/healthz", summary="Whether the server answers")
async def healthz(request: Request) -> Response:
    """Return 200 if the collection can be read."""
    state = state_of(request)
    change: int = await state.run(state.service.store.change)
    return JSONResponse({"status": "ok", "change": change})


@routes.get("/metrics", response_class=PlainTextResponse, summary="Numbers for Prometheus")
async def metrics(request: Request) -> Response:
    """Return requests, seconds, batches, memory and photos of the process that answers."""
    state = state_of(request)
    gauges: dict[str, Any] = {
        "photos": await state.run(state.service.store.count),
        "requests_under_way": state.under_way.requests,
        "resident_memory_bytes": resident_bytes(),
        "open_descriptors": open_descriptors(),
    }
    return PlainTextResponse(state.metrics.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")
