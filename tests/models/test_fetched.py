"""Models at addresses: what is fetched, how it is called, and what is refused."""

import pytest

from pleura.cli.app import execute
from pleura.errors import AddressError, BundleError, UsageError
from pleura.models import fetched
from pleura.models.fetched import content_of, model_at
from pleura.models.model_file import read_model
from tests.remote.servers import serving


def test_a_model_at_an_address_is_the_file(tiny_model, tmp_path, capsys):
    content = tiny_model.read_bytes()
    files = {"/m.h5": content, "/torn.h5": content[:-9], "/g.xml": b"<net/>", "/g.bin": b"00"}
    with serving(files=files) as web:
        place = web.url.replace("://", "://me:secret@")
        model = f"{place}/m.h5?key=5ec3e7"
        assert read_model(model).digest == read_model(tiny_model).digest
        assert execute(["info", model, "--json"]) == 0
        assert execute(["ensemble", model, "--tta", "--out", str(tmp_path / "e.h5")]) == 1
        with pytest.raises(BundleError, match=f"^{web.url}/torn.h5: .*seal"):
            read_model(f"{place}/torn.h5?key=5ec3e7")
        with pytest.raises(BundleError, match=f"^{web.url}/g.xml: is XML but not"):
            read_model(f"{place}/g.xml?key=5ec3e7")
        with pytest.raises(AddressError, match=f"^{web.url}/none.h5: there is no such object"):
            read_model(f"{place}/none.h5")
    assert "GET /g.bin" in web.asked
    assert not fetched._at_hand
    shown = capsys.readouterr()
    assert "the model: holds no training.images" in shown.err  # so it was read there, too
    assert not [secret for secret in ("secret", "5ec3e7") if secret in shown.out + shown.err]


def test_a_model_is_at_hand_as_long_as_it_is_needed(tiny_model):
    with serving(files={"/m.h5": tiny_model.read_bytes()}) as web:
        with model_at(f"{web.url}/m.h5?key=1") as outer, model_at(f"{web.url}/m.h5") as path:
            assert str(outer) == str(path) == f"{web.url}/m.h5"
            assert content_of(path) == tiny_model.read_bytes()
        assert content_of(path) is None


@pytest.mark.parametrize("url", ["dicomweb+https://me:secret@host/m.h5", "hdfs://me:secret@host/m"])
def test_no_model_is_read_from_elsewhere(url):
    shown = url.replace("me:secret@", "").replace("+", r"\+")
    said = f"^{shown}: a model is read from this machine, or from s3://, .*https://; copy it$"
    with pytest.raises(UsageError, match=said):
        read_model(url)
