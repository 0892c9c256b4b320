"""What the routes share: the service, the settings, the metrics, and the threads in which requests are answered."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from fastapi import Request
from pydantic import BaseModel

from pairlens.serving.limits import UnderWay
from pairlens.serving.metrics import Metrics
from pairlens.serving.problems import Problem
from pairlens.serving.service import CollectionService
from pairlens.serving.settings import ServingSettings

Arguments = TypeVarTuple("Arguments")
Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class ServingState:
    """One server process."""

    service: CollectionService
    settings: ServingSettings
    metrics: Metrics
    under_way: UnderWay
    threads: ThreadPoolExecutor

    async def run(self, work: Callable[[*Arguments], Answer], *args: *Arguments) -> Answer:
        """Return what a function returns that takes long, while other requests are answered."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, partial(work, *args))

    def check_writable(self) -> None:
        """Raise a problem if the collection is served for reading only."""
        if self.settings.read_only:
            raise Problem(403, "this collection is served for reading only; start the server without --read_only")


def state_of(request: Request) -> ServingState:
    """Return the state of the server that answers a request."""
    return request.app.state.serving


def body_schema(kinds: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Return the OpenAPI text of a body that may be of several media types."""
    content: dict[str, Any] = {}
    for media_type, kind in kinds.items():
        schema = _inlined(kind.model_json_schema())
        if media_type.startswith("multipart/"):
            properties = schema["properties"]
            properties["photo"] = {
                "type": "array",
                "items": {"type": "string", "format": "binary"},
                "minItems": 1,
                "description": "one or more picture files",
            }
            properties.pop("vector", None)
            properties["where"] = {"type": "array", "items": {"type": "string"}, "description": "label=dress,skirt"}
            properties["region"] = {"type": "string", "pattern": "^[0-9]{1,6}(,[0-9]{1,6}){3}$"}
        content[media_type] = {"schema": schema}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose references are replaced by what they refer to, because it stands in no document of its own."""
    definitions = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:
        match part:
            case {"$ref": str(reference)}:
                return resolved(definitions[reference.rpartition("/")[2]])
            case dict():
                return {key: resolved(value) for key, value in part.items()}
            case list():
                return [resolved(value) for value in part]
        return part

    return resolved(schema)
