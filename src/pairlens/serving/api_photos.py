"""The routes of the API about the photos of the collection."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response

from pairlens.collection.photo_bytes import photo_bytes
from pairlens.serving.answers import plain_photo
from pairlens.serving.picture_answers import file_headers, photo_version, picture_answer, view_of
from pairlens.serving.problems import Problem
from pairlens.serving.request_bodies import as_filter, checked_body, is_form, read_body, uploaded_files
from pairlens.serving.schemas import MAX_ID, AddedAnswer, ChangeBody, ChangedAnswer, FilterBody, PhotoAnswer, PhotoPage
from pairlens.serving.serving_state import ServingState, body_schema, state_of

routes = APIRouter(prefix="/api/photos")
Id = Annotated[int, Path(ge=0, le=MAX_ID)]
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}, "description": "a picture"},
    304: {"description": "the caller has it already"},
}
_FORM = {
    "type": "object",
    "required": ["photo"],
    "properties": {
        "photo": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
        "label": {"type": "array", "items": {"type": "string"}, "description": "one for all, or one for each photo"},
        "metadata": {"type": "string", "description": "JSON: one object for all, or a list of one for each photo"},
    },
}


@routes.get("", responses={200: {"model": PhotoPage}}, summary="List photos")
async def photos(
    request: Request,
    where: Annotated[list[str], Query(description="as on the command line: label=dress,skirt")] = [],  # noqa: B006
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    filter: Annotated[str | None, Query(description="the filter of a search as JSON, in place of where")] = None,
) -> Response:
    """Return photos by rising id, beginning after an id."""
    state = state_of(request)

    def page() -> dict[str, Any]:
        filters = as_filter(where) if filter is None else as_filter(checked_body(filter.encode(), FilterBody).root)
        items = state.service.store.page(after, limit, filters)
        return {"count": state.service.store.count(filters), "photos": [plain_photo(item) for item in items]}

    return JSONResponse(await state.run(page))


@routes.post(
    "",
    status_code=201,
    responses={200: {"model": AddedAnswer}, 201: {"model": AddedAnswer}},
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
    summary="Add photos",
)
async def add(request: Request) -> Response:
    """Add picture files; a photo that cannot be read is named with its reason, and the others are added."""
    state = state_of(request)
    state.check_writable()
    if not is_form(request):
        raise Problem(415, "send the photos as multipart/form-data, in the field photo")
    limits = state.settings.limits
    async with request.form(max_files=limits.files, max_fields=limits.fields, max_part_size=limits.text_body) as form:
        contents, names = await uploaded_files(form, "photo")
        labels = [value for value in form.getlist("label") if isinstance(value, str)]
        described = form.get("metadata")
    each = (labels or [""]) * (len(contents) if len(labels) <= 1 else 1)
    metadata = _metadata(described, len(contents)) if isinstance(described, str) and described.strip() else None
    done = await state.run(state.service.add, contents, names, [label or None for label in each], metadata)
    answer = {
        "added": done.added,
        "unchanged": done.unchanged,
        "ids": list(done.ids),
        "refused": [{"name": one.path, "reason": one.reason} for one in done.refused],
        "sentence": done.sentence(),
    }
    return JSONResponse(answer, 201 if done.added else 200)


def _metadata(text: str, count: int) -> list[dict[str, Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the metadata are not JSON ({error}); correct them") from None
    rows = [value] * count if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Problem(422, "the metadata are neither one JSON object nor a list of one for each photo")
    return rows


@routes.get("/{id}", responses={200: {"model": PhotoAnswer}}, summary="Show a photo")
async def photo(request: Request, id: Id) -> Response:
    """Return what the collection knows of a photo."""
    state = state_of(request)
    return JSONResponse(plain_photo(await state.run(state.service.item, id)))


@routes.patch(
    "/{id}",
    responses={200: {"model": ChangedAnswer}},
    openapi_extra=body_schema({"application/json": ChangeBody}),
    summary="Relabel a photo, or change its metadata",
)
async def change(request: Request, id: Id) -> Response:
    """Set the label of a photo, null to remove it, or replace its metadata."""
    state = state_of(request)
    state.check_writable()
    body = await read_body(request, ChangeBody)
    return JSONResponse({"changed": await state.run(_changed, state, id, body)})


def _changed(state: ServingState, id: int, body: ChangeBody) -> int:
    if not body.model_fields_set:
        raise Problem(422, "nothing is to be changed; give label, or metadata")
    collection = state.service.collection
    state.service.item(id)
    changed = 0
    if "label" in body.model_fields_set:
        changed = collection.relabel(id, body.label)
    if body.metadata is not None:
        changed = collection.set_metadata(id, body.metadata)
    return changed


@routes.delete("/{id}", responses={200: {"model": ChangedAnswer}}, summary="Remove a photo")
async def remove(request: Request, id: Id) -> Response:
    """Remove a photo from the collection; a file that it came from stays where it is."""
    state = state_of(request)
    state.check_writable()

    def removed() -> int:
        state.service.item(id)
        return state.service.collection.remove(id)

    return JSONResponse({"changed": await state.run(removed)})


@routes.get("/{id}/thumbnail", responses=_PICTURE, summary="The thumbnail of a photo")
async def thumbnail(request: Request, id: Id, v: str | None = None) -> Response:
    """Return a JPEG of at most 256 pixels; with the version of the photo in the address it may be kept for ever."""
    return await state_of(request).run(_thumbnail, request, id, v)


def _thumbnail(request: Request, id: int, v: str | None) -> Response:
    service = state_of(request).service
    item = service.item(id)
    contents = service.store.thumbnails([id]).get(id, b"")
    if not contents:
        raise Problem(404, f"the collection has no thumbnail of the photo {id}; its vector was computed elsewhere")
    return picture_answer(contents, request.headers.get("if-none-match"), photo_version(item), v)


@routes.get("/{id}/view", responses=_PICTURE, summary="A photo in the size of a window")
async def view(request: Request, id: Id, v: str | None = None) -> Response:
    """Return a JPEG of at most 1280 pixels, or the thumbnail if the photo itself is gone."""
    return await state_of(request).run(_view, request, id, v)


def _view(request: Request, id: int, v: str | None) -> Response:
    service = state_of(request).service
    item = service.item(id)
    contents = photo_bytes(service.store, item)
    if contents is None:
        return _thumbnail(request, id, v)
    box = None if item.region is None else item.region.box
    picture = service.lanes.run(contents, lambda: view_of(contents, box))
    return picture_answer(picture, request.headers.get("if-none-match"), photo_version(item), v)


@routes.get("/{id}/original", responses=_PICTURE, summary="The file of a photo")
async def original(request: Request, id: Id) -> Response:
    """Return the bytes of a photo of the collection, if they are there and unchanged."""
    return await state_of(request).run(_original, request, id)


def _original(request: Request, id: int) -> Response:
    service = state_of(request).service
    item = service.item(id)
    contents = photo_bytes(service.store, item)
    if contents is None:
        raise Problem(404, f"the file of the photo {id} is gone or has changed; index it again")
    headers = file_headers(item, contents)
    return picture_answer(contents, request.headers.get("if-none-match"), photo_version(item), None, headers)
