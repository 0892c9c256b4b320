import socket
import time

import pytest
from huggingface_hub import constants as hub

from pairlens.model import weights_hub
from pairlens.model.backbone import Backbone
from pairlens.model.weights_hub import has_imagenet_weights, is_hub_reachable
from pairlens.model.weights_package import WEIGHT_PACKAGES


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No proxy, and a hub that is not switched off."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)


@pytest.fixture
def server():
    """The port of a server that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_a_hub_that_accepts_connections_is_reachable(monkeypatch, server, closed_port):
    monkeypatch.setattr(hub, "ENDPOINT", f"http://127.0.0.1:{server}")
    assert is_hub_reachable()
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    assert not is_hub_reachable()


@pytest.mark.parametrize("endpoint", ["https://no-such-hub.invalid", "http://127.0.0.1:{}", "http://127.0.0.1:99999"])
def test_a_hub_that_does_not_answer_is_not_reachable(monkeypatch, closed_port, endpoint):
    monkeypatch.setattr(hub, "ENDPOINT", endpoint.format(closed_port))
    assert not is_hub_reachable()


def test_a_hub_that_swallows_packets_is_given_up_after_seconds(monkeypatch):
    def connect(_address, timeout):
        assert 0 < timeout <= 5
        raise TimeoutError

    monkeypatch.setattr(weights_hub.socket, "create_connection", connect)
    assert not is_hub_reachable()


@pytest.mark.parametrize("form", ["http://127.0.0.1:{}", "127.0.0.1:{}"])
def test_a_proxy_is_asked_in_place_of_the_hub(monkeypatch, server, closed_port, form):
    monkeypatch.setattr(hub, "ENDPOINT", "https://no-such-hub.invalid")
    monkeypatch.setenv("https_proxy", form.format(server))
    assert is_hub_reachable()
    monkeypatch.setenv("https_proxy", form.format(closed_port))
    assert not is_hub_reachable()
    monkeypatch.setenv("https_proxy", form.format(server))
    monkeypatch.setenv("no_proxy", "no-such-hub.invalid")
    assert not is_hub_reachable()


def test_weights_are_here_if_installed_or_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(weights_hub, "is_hub_reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    assert has_imagenet_weights("efficientnet_lite0")
    assert not has_imagenet_weights("resnet50")
    asked = []
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *names: asked.append(names) or str(tmp_path))
    assert has_imagenet_weights("resnext50")
    assert asked[0][0].startswith("timm/resnext50_32x4d")
    monkeypatch.setitem(WEIGHT_PACKAGES, "tf_efficientnet_lite0", "no-such-package")
    assert not has_imagenet_weights("efficientnet_lite0")


def test_named_weights_that_cannot_be_had_are_an_error_at_once(monkeypatch):
    monkeypatch.setattr(hub, "ENDPOINT", "https://no-such-hub.invalid")
    started = time.process_time()
    with pytest.raises(ValueError, match=r"connect to the network, or use --weights FILE.*efficientnet_lite2"):
        Backbone("resnet10t", weights="imagenet", stride="none", image_size=64)
    assert time.process_time() - started < 20
