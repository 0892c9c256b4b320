"""The bodies of requests and answers, as the OpenAPI text describes them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from pairlens.collection.packed_vector import MAX_NUMBERS

MAX_ID = (1 << 63) - 1
PhotoId = Annotated[int, Field(ge=0, le=MAX_ID, description="number of a photo of the collection")]
PhotoVector = Annotated[list[float], Field(min_length=1, max_length=MAX_NUMBERS)]
VectorText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4 * MAX_NUMBERS * 4 // 3 + 4,
        description="a vector in a fifth of the bytes: float32 numbers, little-endian, as base64",
    ),
]
PhotoRegion = Annotated[
    list[Annotated[int, Field(ge=0, lt=1 << 31)]],
    Field(min_length=4, max_length=4, description="x, y, width, height in pixels of the upright photo"),
]
Scalar = str | int | float | bool | None
LabelText = Annotated[str, Field(min_length=1, max_length=4096)]


class RangeCondition(BaseModel):
    """Numbers between two ends, both included; an end that is left out is open."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    low: float | None = Field(None, alias="from")
    high: float | None = Field(None, alias="to")


class UnderCondition(BaseModel):
    """Paths or labels that begin with a text."""

    model_config = ConfigDict(extra="forbid")
    under: str


WhereCondition = RangeCondition | UnderCondition | list[Scalar] | Scalar


class FilterBody(RootModel[dict[str, WhereCondition]]):
    """A filter: conditions by key, all of which must hold."""


class SearchBody(BaseModel):
    """What is searched for: a photo, id or vector, or several, whose mean is searched for."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"id": 1, "k": 5}, {"id": [1], "unlike": [2], "where": {"label": ["dress"]}}]},
    )
    photo: str | None = Field(None, description="digest of a photo that was searched with before")
    id: PhotoId | list[PhotoId] = Field(default_factory=list)
    vector: VectorText | PhotoVector | list[VectorText | PhotoVector] = Field(default_factory=list)
    unlike: PhotoId | list[PhotoId] = Field(default_factory=list)
    region: PhotoRegion | None = None
    where: dict[str, WhereCondition] | list[str] = Field(
        default_factory=dict, description="conditions by key, or as the command line writes them"
    )
    k: int = Field(10, ge=1, le=1_000_000)
    index: Literal["auto", "exact"] = "auto"
    group: bool = Field(False, description="collapse near-duplicates into one result")
    rate: float | None = Field(None, description="false accept rate of the verdict")
    explain: bool = Field(False, description="add to each match which places of both photos make up the score")
    with_vector: bool = Field(False, description="add the vector that was searched for")


class SearchForm(SearchBody):
    """The fields of a search with picture files; lists are several fields of one name, `where` is label=dress,skirt."""

    photo: Any = Field(description="one or more picture files")
    query: str | None = Field(None, description="the body of a search as JSON, in place of all other fields")
    vector: Any = None


class ExplanationBody(BaseModel):
    """Which match is to be explained: one photo or id that was searched with, and the id that was found."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"id": 1, "match": 2}]})
    photo: str | None = None
    id: PhotoId | None = None
    region: PhotoRegion | None = None
    match: PhotoId


class ChangeBody(BaseModel):
    """What is changed of a photo; what is left out stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"label": "dress"}]})
    label: LabelText | None = None
    metadata: dict[str, Scalar] | None = None


class PhotoAnswer(BaseModel):
    """A photo of the collection."""

    id: int
    path: str
    digest: str
    region: list[int] | None
    label: str | None
    metadata: dict[str, Scalar]
    width: int
    height: int
    added: float
    thumbnail: str = Field(description="address of its thumbnail, which may be kept for ever")


class MatchAnswer(PhotoAnswer):
    """A photo that was found."""

    rank: int
    score: float = Field(description="cosine with the query")
    probability: float | None
    copies: list[int] = Field(description="ids of near-duplicates that were collapsed into it")
    explanation: dict[str, Any] | None = None


class RecallAnswer(BaseModel):
    """The share of the exact results that the search finds."""

    exact: bool
    value: float
    interval: list[float]
    queries: int


class SearchAnswer(BaseModel):
    """The results of a search, best first."""

    verdict: Literal["match", "no match", "not calibrated"]
    sentence: str = Field(description="the verdict with what it promises")
    probability: float | None
    false_accept_rate: float | None
    interval: list[float] | None
    reason: str
    recall: RecallAnswer
    photos: list[str] = Field(description="digests of the photos that were searched with, for further searches")
    vector: list[float] | None = None
    matches: list[MatchAnswer]


class PhotoPage(BaseModel):
    """Photos by rising id."""

    count: int = Field(description="photos that the filter lets through")
    photos: list[PhotoAnswer]


class RefusedPhoto(BaseModel):
    """A file that was not added, and why."""

    name: str
    reason: str


class AddedAnswer(BaseModel):
    """What became of the files: found = added + unchanged + refused."""

    added: int
    unchanged: int
    ids: list[int]
    refused: list[RefusedPhoto]
    sentence: str


class ChangedAnswer(BaseModel):
    """How many photos were changed or removed."""

    changed: int


class VectorsAnswer(BaseModel):
    """Unit vectors of the active model."""

    model: str = Field(description="the fingerprint, which names the vectors")
    vectors: list[list[float]]


class ProblemAnswer(BaseModel):
    """Why a request has no answer (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="one sentence: what is wrong, where, and what to do")
