"""An object store on this machine, and a way to it that fails when it is told to."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests.remote.servers import serving

RIGHTS = {
    "AWS_ACCESS_KEY_ID": "AKIATHEKEYID",
    "AWS_SECRET_ACCESS_KEY": "the-secret-key",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """``HOST:PORT`` of a store of the S3 kind."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def store(moto, monkeypatch) -> Iterator[SimpleNamespace]:
    """A store with the bucket ``films``; ``put`` fills it, ``faults`` happen on the way to it."""
    import boto3
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with serving(upstream=moto) as way:
        for name, value in {**RIGHTS, "AWS_ENDPOINT_URL": way.url}.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=f"http://{moto}")
        client.create_bucket(Bucket="films")

        def put(files):
            for key, content in files.items():
                client.put_object(Bucket="films", Key=key, Body=content)

        yield SimpleNamespace(put=put, client=client, way=way, faults=way.faults)
        found = client.list_objects_v2(Bucket="films").get("Contents", ())
        for one in found:
            client.delete_object(Bucket="films", Key=one["Key"])
        client.delete_bucket(Bucket="films")
        client.close()
    s3fs.S3FileSystem.clear_instance_cache()
