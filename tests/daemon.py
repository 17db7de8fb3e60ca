"""A daemon of its own for a script: started on free ports, called over HTTP, stopped. Python's standard library only."""

import atexit
import http.client
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BINARY = ROOT / "target/release/adapterd"
# No start, call or end takes longer, in seconds.
TIMEOUT = 300.0


class Daemon:
    """The process, and one way to call it."""

    def __init__(self, binary: Path, data: Path | str, *arguments: str, settings: dict[str, str] | None = None):
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0)), two.bind(("127.0.0.1", 0))
            self.port, grpc = one.getsockname()[1], two.getsockname()[1]
        command = [str(binary), "serve", "--http", f"127.0.0.1:{self.port}", "--grpc", f"127.0.0.1:{grpc}", "--data-dir", str(data), *arguments]
        self.log, began = tempfile.TemporaryFile(), time.monotonic()
        self.process = subprocess.Popen(command, env=os.environ | (settings or {}), stdout=self.log, stderr=subprocess.STDOUT)
        # Whatever becomes of the script, its daemons end with it.
        atexit.register(self.process.kill)
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() - began > TIMEOUT:
                raise SystemExit(f"the daemon did not start:\n{self.said()}")
            time.sleep(0.005)
        # Seconds until it was ready.
        self.start = time.monotonic() - began

    def ready(self) -> bool:
        try:
            return self.call("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, bytes]:
        connection = self.connect()
        try:
            connection.request(method, path, body, {"content-type": kind} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def memory(self) -> float:
        """Resident MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024

    def metrics(self) -> dict[str, float]:
        _, text = self.call("GET", "/metrics")
        rows = (line.rsplit(" ", 1) for line in text.decode().splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in rows}

    def said(self) -> str:
        """The end of its log."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-4000:]

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(how)
        return self.process.wait(TIMEOUT)

def cut_short(binary: Path, folder: str, life: float, settings: dict[str, str]) -> None:
    """A start that may not come to its end."""
    command = [str(binary), "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data-dir", folder]
    process = subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(life)
    process.kill()
    process.wait()
