"""The two servers: how each is started, asked, and stopped. Only processes started here are ever stopped, by their handle."""

import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import layout
from load import Request

START = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server; `ask` makes a request it understands, `read` understands its events."""

    name: str
    health: str

    def __init__(self, command: list[str], port: int, environment: dict[str, str] | None = None):
        self.port = port
        self.log = tempfile.TemporaryFile()
        env = {**os.environ, **(environment or {})}
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, env=env)
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def wait(self) -> None:
        end = time.monotonic() + START
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended while it started:\n{self.output()[-2000:]}")
            try:
                status, _ = self.call("GET", self.health)
                if status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} was not ready after {START:.0f} s:\n{self.output()[-2000:]}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def output(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def call(self, method: str, path: str, body: dict | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START)
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    def memory(self, field: str = "VmHWM") -> int:
        """Bytes, as the kernel counts them: VmHWM is the peak, RssAnon what is not backed by a file."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        return 0


class Adapterd(Server):
    name = "adapterd"
    health = "/readyz"

    def __init__(self, binary: Path, dir: Path, shape: str, quant: str, adapters: int, threads: int):
        self.data = tempfile.TemporaryDirectory()
        port = free_port()
        # Answers of random weights soon repeat themselves: guessed tokens would be right more often than in text.
        known = subprocess.run([str(binary), "config", "show"], check=True, capture_output=True, text=True).stdout
        quiet = {"ADAPTERD_ENGINE__SPECULATION": "off"} if "engine.speculation" in known else {}
        self.client = [str(binary), "--server", f"http://127.0.0.1:{port}"]
        model = layout.model(dir, shape, quant)
        addresses = ["--http", f"127.0.0.1:{port}", "--grpc", f"127.0.0.1:{free_port()}"]
        command = [str(binary), "serve", "--model", str(model), *addresses, "--data-dir", self.data.name, "--threads", str(threads)]
        super().__init__(command, port, quiet)
        _, models = self.call("GET", "/v1/models")
        self.model = next(m["id"] for m in json.loads(models)["data"] if not m.get("parent"))
        for index in range(adapters):
            folder = layout.adapter_folder(dir, shape, index)
            command = [*self.client, "adapter", "register", str(folder), "--name", f"a{index}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        super().stop()
        self.data.cleanup()

    def ask(self, prompt: list[int], tokens: int, adapter: int | None) -> Request:
        body = {
            "model": self.model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True,
            "stream_options": {"include_usage": True}, "return_token_ids": True,
        }
        if adapter is not None:
            body["adapter"] = f"a{adapter}"
        return Request("/v1/completions", body, len(prompt), tokens)

    @staticmethod
    def read(event: dict) -> tuple[bool, int | None]:
        usage = event.get("usage") or {}
        return bool(Adapterd.ids(event)), usage.get("completion_tokens")

    @staticmethod
    def ids(event: dict) -> list[int]:
        return [id for choice in event.get("choices", []) for id in choice.get("token_ids") or []]


class LlamaServer(Server):
    name = "llama.cpp"
    health = "/health"

    def __init__(self, dir: Path, shape: str, quant: str, adapters: int, threads: int, slots: int, context: int, flash: str):
        port = free_port()
        self.adapters = adapters
        # Without --cache-ram 0 it would keep copies of finished prompts, which no run here can use.
        command = [
            str(layout.program(dir, "llama-server")), "--model", str(layout.model(dir, shape, quant)), "--host", "127.0.0.1",
            "--port", str(port), "--threads", str(threads), "--threads-batch", str(threads), "--parallel", str(slots),
            "--ctx-size", str(context * slots), "--cache-ram", "0", "--no-ui", "--flash-attn", flash,
        ]
        if adapters:
            files = ",".join(str(layout.adapter_file(dir, shape, index)) for index in range(adapters))
            command += ["--lora-init-without-apply", "--lora", files]
        super().__init__(command, port)

    def ask(self, prompt: list[int], tokens: int, adapter: int | None) -> Request:
        # Greedy by the shortest chain of samplers. Adapters that are not named here count as 0, but an empty list as "all at 1".
        body = {
            "prompt": prompt, "n_predict": tokens, "temperature": 0, "samplers": ["temperature"], "ignore_eos": True, "stream": True,
            "cache_prompt": False, "return_tokens": True,
        }
        if self.adapters:
            body["lora"] = [{"id": adapter, "scale": 1.0}] if adapter is not None else [{"id": 0, "scale": 0.0}]
        return Request("/completion", body, len(prompt), tokens)

    @staticmethod
    def read(event: dict) -> tuple[bool, int | None]:
        return bool(LlamaServer.ids(event)), event.get("tokens_predicted") if event.get("stop") else None

    @staticmethod
    def ids(event: dict) -> list[int]:
        return event.get("tokens") or [] if not event.get("stop") else []


class LlamaBench:
    """llama.cpp's own benchmark, a process for each measurement: no server, no sampling, no clients."""

    name = "llama-bench"
    cases = ("decode", "prompt")

    def __init__(self, dir: Path, shape: str, quant: str, threads: int):
        model = str(layout.model(dir, shape, quant))
        self.command = [str(layout.program(dir, "llama-bench")), "-m", model, "-t", str(threads), "-fa", "1", "-r", "1", "-o", "json"]

    def measure(self, case) -> dict:
        sizes = ["-p", str(case.prompt), "-n", "0"] if case.measure == "prompt" else ["-p", "0", "-n", str(case.tokens)]
        done = subprocess.run([*self.command, *sizes], check=True, capture_output=True, text=True)
        return {"value": json.loads(done.stdout)[0]["avg_ts"], "firsts": []}
