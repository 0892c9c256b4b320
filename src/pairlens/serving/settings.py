"""What `pairlens serve` is told: where the collection is, who may come in, and how much a request may cost."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal, TypeAlias

Runtime: TypeAlias = Literal["torch", "onnx"]

# A token that can be guessed is none.
MIN_TOKEN = 16


@dataclass(frozen=True)
class ServingLimits:
    """How much a request may cost.

    Attributes:
        body: bytes of one request, counted while they are read.
        text_body: bytes of one request that carries no files.
        files: photos of one request.
        fields: further values of a form.
        seconds_between_parts: for which a body may pause.
        seconds_for_body: within which a body has to be complete.
        seconds_for_headers: within which a connection has to say what it wants.
        requests: that are under way at the same time.
        bodies: requests with a body that are under way at the same time.
        connections: that are open at the same time.
        results: photos that one search returns.
        explained: photos that one search explains.
        query_bytes: of the photos that were searched with, which are kept for links.
        query_seconds: for which they are kept.
    """

    body: int = 64 << 20
    text_body: int = 4 << 20
    files: int = 64
    fields: int = 256
    seconds_between_parts: float = 15.0
    seconds_for_body: float = 120.0
    seconds_for_headers: float = 15.0
    requests: int = 256
    bodies: int = 32
    connections: int = 1000
    results: int = 1000
    explained: int = 20
    query_bytes: int = 512 << 20
    query_seconds: float = 24 * 3600.0


@dataclass(frozen=True)
class ServingSettings:
    """What is served, and to whom.

    Attributes:
        location: the folder of the collection, or the address of its PostgreSQL database.
        host: address to listen on.
        port: to listen on; 0 for any free one.
        token: what callers have to know; None only where nobody but this machine can call.
        read_only: whether everything that changes the collection is refused.
        names: further names by which the server is called, as behind a reverse proxy.
        folder: where photos that were searched with are kept for links; all processes of one server share it.
        wait: seconds that a writer waits for another one.
        runtime: what computes the vectors of photos that are searched with or added: PyTorch or onnxruntime.
        limits: of a request.

    >>> ServingSettings("shop").is_loopback, ServingSettings("shop", host="0.0.0.0", token="x" * 20).is_loopback
    (True, False)
    """

    location: str
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    read_only: bool = False
    names: tuple[str, ...] = ()
    folder: str = ""
    wait: float = 30.0
    runtime: Runtime = "torch"
    limits: ServingLimits = ServingLimits()

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise ValueError(f"--port {self.port} is no port; give a number from 0 to 65535")
        if self.token is not None and (len(self.token) < MIN_TOKEN or not self.token.isascii() or " " in self.token):
            raise ValueError(
                f"the token must have at least {MIN_TOKEN} ASCII characters without blanks; make one with python -c "
                "'import secrets; print(secrets.token_urlsafe())'"
            )
        if self.token is None and (not self.is_loopback or self.names):
            raise ValueError(
                f"{', '.join(self.names) or self.host} can be reached from other machines, so callers need a token; give "
                "--token or set PAIRLENS_TOKEN"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return self.host == "localhost" or (is_address(self.host) and ip_address(self.host).is_loopback)


def is_address(host: str) -> bool:
    """Return whether a host is written as a number.

    >>> is_address("192.168.1.5"), is_address("::1"), is_address("photos.example")
    (True, True, False)
    """
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
