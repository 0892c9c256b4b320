"""The routes of the page, which answers with HTML that needs no script for uploads and results."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from pairlens.collection.store import Store
from pairlens.serving.access import COOKIE, is_token, session_of
from pairlens.serving.page import PAGE_FOLDER, page_files, render_page
from pairlens.serving.page_content import PageContent, photo_content, view_content
from pairlens.serving.page_state import PageState, read_state
from pairlens.serving.problems import Problem
from pairlens.serving.request_bodies import uploaded_files
from pairlens.serving.schemas import MAX_ID
from pairlens.serving.serving_state import ServingState, state_of
from pairlens.serving.settings import ServingSettings

FRAGMENT_HEADER, ADDRESS_HEADER = "x-pairlens-fragment", "x-pairlens-address"
Id = Annotated[int, Path(ge=0, le=MAX_ID)]
_SESSION_SECONDS = 30 * 24 * 3600


def page_routes(settings: ServingSettings) -> APIRouter:
    """Return the routes of the page; none of them is part of the API."""
    routes = APIRouter(include_in_schema=False)
    routes.add_api_route("/", view, methods=["GET"])
    routes.add_api_route("/", upload, methods=["POST"])
    routes.add_api_route("/photos/{id}", photo_page, methods=["GET"])
    routes.add_api_route("/map", map_page, methods=["GET"])
    routes.add_api_route("/static/{name}", static_file, methods=["GET"])
    routes.add_api_route("/favicon.ico", favicon, methods=["GET"])
    if settings.token is not None:
        routes.add_api_route("/login", login_page, methods=["GET"])
        routes.add_api_route("/login", login, methods=["POST"])
    return routes


async def view(request: Request) -> Response:
    """Show a search, or the photos of the collection."""
    state = state_of(request)
    shown = read_state(request.query_params.multi_items())
    content = await state.run(view_content, state, shown)
    return await state.run(_html, request, "view.html", content)


async def upload(request: Request) -> Response:
    """Search with a photo that was uploaded: with a script, answer at once; without, lead to the address of the search."""
    state = state_of(request)
    limits = state.settings.limits
    async with request.form(max_files=2, max_fields=limits.fields, max_part_size=limits.text_body) as form:
        # A phone's page has two fields, one for its camera; the other one is empty.
        contents, _ = await uploaded_files(form, "photo")
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    digest = await state.run(state.service.query_photos.keep, contents[0])
    shown = read_state([*fields, ("photo", digest)])
    if FRAGMENT_HEADER not in request.headers:
        return RedirectResponse(shown.address(), 303)
    content = await state.run(view_content, state, shown)
    answer = await state.run(_html, request, "view.html", content)
    answer.headers[ADDRESS_HEADER] = shown.address()
    return answer


async def photo_page(request: Request, id: Id) -> Response:
    """Show one photo, beside the one that was searched with."""
    state = state_of(request)
    shown = read_state(request.query_params.multi_items())
    content = await state.run(photo_content, state, shown, id)
    return await state.run(_html, request, "photo.html", content)


async def map_page(request: Request) -> Response:
    """Show the map of the collection."""
    return _html(request, "map.html", await state_of(request).run(_plain_content, state_of(request)))


def _plain_content(state: ServingState) -> PageContent:
    return PageContent(state.service.name, state.settings.read_only, PageState(), _count(state.service.store), {})


def _count(store: Store) -> int:
    return store.count()


def _html(request: Request, template: str, content: PageContent) -> HTMLResponse:
    return HTMLResponse(render_page(template, content, FRAGMENT_HEADER in request.headers))


async def static_file(request: Request, name: str) -> Response:
    """Return the script, the style sheet or the icon; nothing else is there."""
    if name not in page_files():
        raise Problem(404, f"there is no file {name[:80]}")
    is_current = request.query_params.get("v") == page_files()[name]
    cache_words = "public, max-age=31536000, immutable" if is_current else "no-cache"
    return FileResponse(PAGE_FOLDER / "static" / name, headers={"cache-control": cache_words})


async def favicon(request: Request) -> Response:
    """Lead browsers that ask for the usual name to the icon."""
    return RedirectResponse("/static/icon.svg", 301)


async def login_page(request: Request) -> Response:
    """Ask for the token."""
    return HTMLResponse(_login_html(""))


async def login(request: Request) -> Response:
    """Let a browser in that has sent the token."""
    settings = state_of(request).settings
    async with request.form(max_files=0, max_fields=4, max_part_size=4096) as form:
        given = form.get("token")
    token = settings.token or ""
    if not isinstance(given, str) or not is_token(given.strip(), token):
        return HTMLResponse(_login_html("This is not the token of this server."), 403)
    answer = RedirectResponse("/", 303)
    is_secure = request.url.scheme == "https"
    answer.set_cookie(
        COOKIE, session_of(token), max_age=_SESSION_SECONDS, httponly=True, samesite="strict", secure=is_secure
    )
    return answer


def _login_html(message: str) -> str:
    return render_page("login.html", PageContent("Pairlens", True, PageState(), 0, {"message": message}), False)


def page_problem(request: Request, problem: HTTPException) -> Response | None:
    """Return an error as a page, if it is a browser that has asked for one; None otherwise."""
    is_page = "text/html" in request.headers.get("accept", "") and FRAGMENT_HEADER not in request.headers
    if not is_page or request.url.path.startswith("/api/"):
        return None
    content = PageContent("Pairlens", True, PageState(), 0, {"problem": problem})
    headers = {"cache-control": "no-store", **(problem.headers or {})}
    return HTMLResponse(render_page("problem.html", content, False), problem.status_code, headers)
