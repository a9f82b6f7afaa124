"""The HTTP app: what can be asked, what is answered, and how mistakes are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from pipeline.serving.batching import Batcher, BusyError, Limits
from pipeline.serving.forms import (
    ErrorAnswer,
    HealthAnswer,
    ProductAnswer,
    RecommendAnswer,
    RecommendForm,
    StateAnswer,
    StateForm,
    VersionAnswer,
)
from pipeline.serving.guards import App, Guards, Message, Receive, RequestLimits, Scope, Send, error_body
from pipeline.serving.kept_corrections import add_corrections
from pipeline.serving.label_studio_backend import label_studio_routes
from pipeline.serving.metrics import KIND, Metrics
from pipeline.serving.service import Answer, Question, Service
from schemas.errors import InputError, SemctlError
from schemas.progress import Progress

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Path -> the file of the page, and its media type; there is nothing secret in it."""

_WORKERS = 2  # images that are decoded at a time


@dataclass(frozen=True)
class AppSettings:
    """How an app behaves."""

    api_key: str = ""  # asked of every request but those for the page and ``/health``; empty: of none
    hosts: tuple[str, ...] = ()  # names that it may be called by; empty: any
    limits: RequestLimits = field(default_factory=RequestLimits)
    batches: Limits = field(default_factory=Limits)
    look_every: float = 2.0  # seconds between looks at the files of the catalogue
    keep_corrections: bool = False  # whether corrections made on the page are kept, with their conversations


def make_app(service: Service, settings: AppSettings, progress: Progress) -> App:
    """The app of a service, with its guards; the catalogue is kept up with its files while it runs.

    Args:
        service: what answers.
        settings: how.
        progress: told of bugs.
    """
    batcher: Batcher[Question, Answer]
    metrics = Metrics(lambda: batcher.waiting, lambda: len(service.shop.recommender.corpus.products))
    batcher = Batcher(service.answer, settings.batches, metrics.batch)
    decoding = asyncio.Semaphore(_WORKERS)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        watching = asyncio.create_task(_keep_up(service, metrics, settings.look_every))
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await batcher.stop()

    app = FastAPI(
        title="semctl",
        version=service.version().semctl,
        description="Products for conversations, by a trained run. Errors are `{error: {kind, what, where, fix}}`.",
        lifespan=lifespan,
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
        responses={
            "4XX": {"model": ErrorAnswer, "description": "The request was refused: what is wrong, and what to do."},
            "5XX": {"model": ErrorAnswer, "description": "The server is busy, or has a bug."},
        },
    )
    _tell_mistakes(app, progress)

    async def answered(form: StateForm) -> Response:
        async with decoding:
            question = await asyncio.to_thread(service.question, form)
        found = await batcher.ask(question)
        if isinstance(found, SemctlError):
            raise found
        return _json(found)

    @app.post("/recommend", response_model=RecommendAnswer, tags=["model"])
    async def recommend(form: RecommendForm) -> Response:
        """The products of the catalogue that fit a conversation best, and the state that was read."""
        return await answered(form)

    @app.post("/state", response_model=StateAnswer, tags=["model"])
    async def state(form: StateForm) -> Response:
        """What a conversation is taken to want."""
        return await answered(form)

    @app.get("/products/{product_id:path}", response_model=ProductAnswer, tags=["catalogue"])
    async def product(product_id: str) -> Response:
        """A product of the catalogue."""
        found = service.product(product_id)
        if found is None:
            raise _not_found("product", product_id)
        return _json(found)

    @app.get(
        "/images/{image_id:path}",
        response_class=Response,
        responses={200: {"content": {"image/*": {}}, "description": "The image."}},
        tags=["catalogue"],
    )
    async def image(
        image_id: str, side: Annotated[int | None, Query(ge=16, le=2000, description="Of a smaller copy.")] = None
    ) -> Response:
        """An image of the catalogue, as browsers show it."""
        async with decoding:
            found = await asyncio.to_thread(service.image, image_id, side)
        if found is None:
            raise _not_found("image", image_id)
        headers = {"Cache-Control": "private, max-age=300", "Content-Security-Policy": "default-src 'none'; sandbox"}
        return Response(found.content, media_type=found.kind, headers=headers)

    @app.get("/health", response_model=HealthAnswer, tags=["server"])
    async def health() -> Response:
        """Whether it works; asks for no key."""
        ok = batcher.runs
        answer = HealthAnswer(
            status="ok" if ok else "failing",
            catalogue=service.shop.catalogue,
            products=len(service.shop.recommender.corpus.products),
            update=service.problem,
        )
        return _json(answer, 200 if ok else 503)

    @app.get("/version", response_model=VersionAnswer, tags=["server"])
    async def version() -> Response:
        """What runs here, and the slots that can be corrected."""
        return _json(service.version().model_copy(update={"keeps_corrections": settings.keep_corrections}))

    if settings.keep_corrections:
        add_corrections(app, service)

    @app.get("/metrics", response_class=Response, tags=["server"])
    async def counted() -> Response:
        """What was counted, for Prometheus."""
        return Response(metrics.text(), media_type=KIND)

    app.include_router(label_studio_routes(service, metrics))

    for path, (name, kind) in PAGE.items():
        content = resources.files("pipeline.serving").joinpath("page", name).read_bytes()
        app.get(path, include_in_schema=False)(_static(content, kind))

    guarded = Guards(
        app, limits=settings.limits, api_key=settings.api_key, hosts=settings.hosts, open_paths=(*PAGE, "/health")
    )
    return partial(_measured, guarded, metrics)


def _static(content: bytes, kind: str) -> Callable[[], Any]:
    async def page() -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return page


async def _keep_up(service: Service, metrics: Metrics, every: float) -> None:
    """Read the catalogue again when its files have changed and been still for one look."""
    seen = service.stamps()
    while True:
        await asyncio.sleep(every)
        now = service.stamps()
        if now == seen and service.is_outdated:
            metrics.updated(served=await asyncio.to_thread(service.update))
        seen = now


async def _measured(app: App, metrics: Metrics, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        await app(scope, receive, send)
        return
    began, status = time.perf_counter(), 499  # the client went away

    async def sent(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    try:
        await app(scope, receive, sent)
    finally:
        route = getattr(scope.get("route"), "path", "none")
        metrics.answered(route, status, time.perf_counter() - began)


def _json(answer: BaseModel, status: int = 200) -> Response:
    return Response(answer.model_dump_json(), status, media_type="application/json")


def _not_found(what: str, name: str) -> HTTPException:
    return HTTPException(404, f"there is no {what} '{name[:80]}' in this catalogue")


def _tell_mistakes(app: FastAPI, progress: Progress) -> None:
    """Each mistake as :class:`ErrorAnswer`; what a request said is not repeated but for names."""

    def told(status: int, kind: str, what: str, fix: str | None = None, where: str | None = None) -> Response:
        headers = {"Retry-After": "1"} if status == 503 else None
        return Response(error_body(kind, what, fix, where), status, headers, "application/json")

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, problem: RequestValidationError) -> Response:
        first = problem.errors()[0]
        if first["type"] == "json_invalid":
            return told(400, "UsageError", f"not JSON: {first['ctx']['error']}", "send a JSON object")
        place = ".".join(str(part) for part in first["loc"][1:])
        if not place:  # none, another kind of JSON, or not said to be JSON
            fix = "send one with `Content-Type: application/json`; see /openapi.json"
            return told(422, "UsageError", "the body must be a JSON object", fix)
        return told(422, "UsageError", first["msg"].lower(), "see /openapi.json", place[:200])

    @app.exception_handler(SemctlError)
    async def wrong(_: Request, problem: SemctlError) -> Response:
        status = 422 if isinstance(problem, InputError) else 500
        return told(status, type(problem).__name__, problem.what, problem.fix, problem.where)

    @app.exception_handler(BusyError)
    async def busy(_: Request, __: BusyError) -> Response:
        return told(503, "Busy", "too many requests wait", "try again in a second")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, problem: HTTPException) -> Response:
        status, what = problem.status_code, str(problem.detail)
        if what == HTTPStatus(status).phrase:  # of the framework
            what = "nothing is served here" if status == 404 else f"{request.method} is not served here"
        return told(status, "Refused", what, "see /openapi.json")

    @app.exception_handler(Exception)
    async def bug(_: Request, problem: Exception) -> Response:
        progress.log(f"a bug in semctl: {type(problem).__name__}: {problem}")
        return told(500, "Bug", f"a bug in semctl: {type(problem).__name__}", "the server's log says more")
