"""A server that stands in for the hub and for the heads' repository: real HTTP, LFS and faults."""

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import processes
from processes import Forked, run
from published_files import (
    DNA_HEADS,
    DNA_LAYERS,
    DNA_WIDTH,
    ESM_C_HEADS,
    ESM_C_LAYERS,
    ESM_C_WIDTH,
    HEADS,
    LAYERS,
    WIDTH,
    Files,
)
from virnucpro.bundles.registry import git_blob_id

ESM2, ESM2_8M = "facebook/esm2_t36_3B_UR50D", "facebook/esm2_t6_8M_UR50D"
DNA = "zhihan1996/DNABERT-S"
ESM_C = "EvolutionaryScale/esmc-300m-2024-12"
#: Lets a process take the stand-in's heads, whose digests cannot be the published ones, for them,
#: its small encoders for the published ones, lets small files come in many parts, and shortens what
#: the library waits before it tries again.
PATCHED = f"""
import sys, time
wait = time.sleep
time.sleep = lambda seconds: wait(seconds / 50)
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = 1 << 16
from virnucpro.bundles.registry import ENCODERS, PUBLISHED
for length in (300, 500):
    name = f"virnucpro-{{length}}"
    PUBLISHED[name] = PUBLISHED[name]._replace(head_blob=sys.argv.pop(1))
esm2 = dict(layers={LAYERS}, width={WIDTH}, heads={HEADS})
dna = dict(layers={DNA_LAYERS}, width={DNA_WIDTH}, heads={DNA_HEADS})
for name, sizes in dict(esm2_t6_8M_UR50D=esm2, esm2_t36_3B_UR50D=esm2).items():
    ENCODERS[name] = ENCODERS[name]._replace(**sizes)
ENCODERS["dnabert-s"] = ENCODERS["dnabert-s"]._replace(**dna)
esm_c = dict(layers={ESM_C_LAYERS}, width={ESM_C_WIDTH}, heads={ESM_C_HEADS})
ENCODERS["esmc-300m"] = ENCODERS["esmc-300m"]._replace(**esm_c)
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server has and how it misbehaves.

    Attributes:
        files: path in the URL, as `owner/name/file`, or `file` for heads -> the file.
        cut: paths whose next transfer breaks off in the middle.
        wrong: paths whose content is changed on the way.
        status: answered instead of everything, where it is not 0.
        transfers: path and first byte of every transfer of content.
        url: of the server.
    """

    files: dict[str, Path]
    cut: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)
    status: int = 0
    transfers: list[tuple[str, int]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Answer requests in a thread."""

    class Handler(_Handler):
        of = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def start(files: Files, *arguments: str | Path) -> Forked:
    """Start `virnucpro ARGUMENTS` in a process that takes the stand-in's files for published."""
    return processes.start(*blobs_of(files), *arguments, before=PATCHED)


def models(files: Files, *arguments: str | Path) -> tuple[int, str, str]:
    """Run `virnucpro models ARGUMENTS`; return status, output and the last line of what it said."""
    done = run(*blobs_of(files), "models", *arguments, before=PATCHED)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, (done.stderr.strip().splitlines() or [""])[-1]


def blobs_of(files: Files) -> list[str]:
    """Return the git blob ids of the heads."""
    return [git_blob_id(head) for head in (files.head_300, files.head)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Answer as the hub does: large files lie elsewhere."""
        self._answer(with_content=False)

    def do_GET(self) -> None:
        """Answer with content."""
        self._answer(with_content=True)

    def _answer(self, *, with_content: bool) -> None:
        path = self.path.lstrip("/").partition("?")[0]
        if self.of.status:
            self._say(self.of.status, {})
            return
        stored = path.startswith("lfs/")
        key = re.sub(r"/resolve/[^/]+/", "/", path.removeprefix("lfs/"))
        file = self.of.files.get(key)
        if file is None:
            self._say(404, {"X-Error-Code": "EntryNotFound"})
            return
        is_large = "/" in key and file.suffix in (".bin", ".safetensors", ".pth")
        if is_large and not stored:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            headers = {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(file.stat().st_size)}
            elsewhere = self.of.url.replace("127.0.0.1", "localhost")
            self._say(302, headers | {"Location": f"{elsewhere}/lfs/{key}"})
            return
        self._send(key, file, with_content=with_content)

    def _send(self, key: str, file: Path, *, with_content: bool) -> None:
        content = file.read_bytes()
        if key in self.of.wrong:
            content = bytes([content[0] ^ 1]) + content[1:]
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(found[1]) if found else 0
        part = content[first:]
        headers = {"ETag": f'"{git_blob_id(file)}"', "Accept-Ranges": "bytes"}
        if found:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._say(206 if found else 200, headers, len(part))
        if not with_content:
            return
        self.of.transfers.append((key, first))
        if key in self.of.cut:
            self.of.cut.discard(key)
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)  # files on it keep it open otherwise
            return
        with suppress(ConnectionError):  # whoever asked went away
            self.wfile.write(part)

    def _say(self, status: int, headers: dict[str, str], length: int = 0) -> None:
        self.send_response(status)
        asked_for = re.search(r"/resolve/([0-9a-f]{40})/", self.path)
        commit = asked_for[1] if asked_for else COMMIT
        for name, value in {"X-Repo-Commit": commit, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
