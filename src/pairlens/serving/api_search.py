"""The routes of the API that search, explain and embed."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from pairlens.collection.item import Region
from pairlens.serving.answers import search_answer
from pairlens.serving.problems import Problem
from pairlens.serving.request_bodies import ReadSearch, is_form, read_body, read_search, uploaded_files
from pairlens.serving.schemas import (
    ExplanationBody,
    SearchAnswer,
    SearchBody,
    SearchForm,
    VectorsAnswer,
)
from pairlens.serving.search_request import SearchRequest
from pairlens.serving.serving_state import ServingState, body_schema, state_of

routes = APIRouter(prefix="/api")
_FILES = {
    "type": "object",
    "required": ["photo"],
    "properties": {"photo": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}},
}


@routes.post(
    "/search",
    responses={200: {"model": SearchAnswer}},
    openapi_extra=body_schema({"application/json": SearchBody, "multipart/form-data": SearchForm}),
    summary="Search with a photo, an id or a vector",
)
async def search(request: Request) -> Response:
    """Return the photos that are most similar to what is searched for, and whether any of them shows the same."""
    state = state_of(request)
    read = await read_search(request, state.service.query_photos, state.settings.limits)
    return JSONResponse(await state.run(_searched, state, read))


def _searched(state: ServingState, read: ReadSearch) -> dict[str, Any]:
    result = state.service.search(read.request)
    explanations = None
    if read.explain:
        explanations = [state.service.explain(read.request, match.id) for match in result]
    return search_answer(result, read.digests, explanations, read.with_vector)


@routes.post(
    "/explanation",
    openapi_extra=body_schema({"application/json": ExplanationBody}),
    summary="Explain a match",
)
async def explain(request: Request) -> Response:
    """Return which places of both photos make up their score; see docs/match_explanation.md."""
    state = state_of(request)
    body = await read_body(request, ExplanationBody)
    if (body.photo is None) == (body.id is None):
        raise Problem(422, "an explanation needs either photo or id, the one that was searched with")
    asked = SearchRequest(
        photos=() if body.photo is None else (state.service.query_photos.read(body.photo),),
        ids=() if body.id is None else (body.id,),
        region=None if body.region is None else Region(*body.region),
    )
    return JSONResponse(await state.run(state.service.explain, asked, body.match))


@routes.post(
    "/embed",
    responses={200: {"model": VectorsAnswer}},
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FILES}}}},
    summary="Embed photos",
)
async def embed(request: Request) -> Response:
    """Return the vectors of picture files, without keeping anything of them."""
    state = state_of(request)
    if not is_form(request):
        raise Problem(415, "send the photos as multipart/form-data, in the field photo")
    limits = state.settings.limits
    async with request.form(max_files=limits.files, max_fields=limits.fields, max_part_size=limits.text_body) as form:
        contents, _ = await uploaded_files(form, "photo")
    vectors, fingerprint = await state.run(state.service.embed, contents)
    return JSONResponse({"model": fingerprint, "vectors": vectors.astype(float).round(8).tolist()})
