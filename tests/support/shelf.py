"""Images that are broken on purpose, in the registry that serves the good ones."""

import json

import httpx

from e2e_matrix.local import oci
from e2e_matrix.local.demo import Served
from e2e_matrix.local.oci import Document


class Shelf:
    """A repository of the test's own in the served registry, for images that are broken on purpose."""

    def __init__(self, served: Served, name: str) -> None:
        self.served = served
        self.repository = f"broken/{name}"
        self.http = httpx.Client(base_url=f"http://{served.host}/v2/", trust_env=False, timeout=30)

    @property
    def template(self) -> str:
        return f"{self.served.host}/{self.repository}:{{ref}}-{{variant}}"

    def put(self, tag: str, document: Document) -> None:
        headers = {"Content-Type": document.media_type}
        self.http.put(
            f"{self.repository}/manifests/{tag}", content=document.content, headers=headers
        ).raise_for_status()

    def blob(self, digest: str, content: bytes | None = None) -> None:
        """Upload a blob, or mount the served repository's where there is no content."""
        source = self.served.repository.partition("/")[2]
        query = {} if content is not None else {"mount": digest, "from": source}
        answer = self.http.post(f"{self.repository}/blobs/uploads/", params=query)
        if content is not None:
            place = httpx.URL(answer.headers["Location"]).copy_merge_params({"digest": digest})
            answer = self.http.put(place, content=content)
        assert answer.status_code == httpx.codes.CREATED, answer.text

    def python_amd64(self, **settings: object) -> Document:
        """The python image for amd64 with other settings, such as another Entrypoint."""
        [image] = [
            image for image in self.served.result.images if (image.variant, image.arch) == ("python", "amd64")
        ]
        content = json.loads(image.config.content)
        content["config"] |= settings
        config = Document(image.config.media_type, json.dumps(content).encode())
        for layer in image.layers:
            self.blob(layer.digest)
        self.blob(config.digest, config.content)
        return oci.manifest(config, image.layers)

    def close(self) -> None:
        self.http.close()
