"""A load generator for any server that streams tokens as server-sent events: one thread, raw sockets, nothing parsed while the clock runs."""

import json
import selectors
import socket
import time
from dataclasses import dataclass, field

SILENCE = 300.0


@dataclass
class Request:
    """A POST whose answer is a stream of events."""

    path: str
    body: dict
    prompt_tokens: int
    tokens: int


@dataclass
class Answer:
    """What came back: when each event that carries a token arrived, in seconds after everything was sent."""

    prompt_tokens: int
    tokens: int
    times: list[float]

    @property
    def first(self) -> float:
        return self.times[0]


@dataclass
class Run:
    answers: list[Answer]

    @property
    def seconds(self) -> float:
        return max(answer.times[-1] for answer in self.answers)

    def throughput(self) -> float:
        """Tokens of all answers by the time from the first request to the last token."""
        return sum(answer.tokens for answer in self.answers) / self.seconds

    def decode(self) -> float:
        """Tokens a second of one stream after its first token."""
        answer = self.answers[0]
        return (answer.tokens - 1) / (answer.times[-1] - answer.times[0])

    def prompt(self) -> float:
        """Prompt tokens by the time to the first token."""
        return self.answers[0].prompt_tokens / self.answers[0].first

    def firsts(self) -> list[float]:
        return [answer.first for answer in self.answers]


@dataclass
class Stream:
    request: Request
    socket: socket.socket
    unread: bytes = b""
    events: list[tuple[float, bytes]] = field(default_factory=list)
    head: bytes = b""

    def take(self, now: float, data: bytes) -> None:
        """Keeps whole lines that are events; the lines of chunked framing between them are no events."""
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                self.events.append((now, line[6:]))
            elif not self.events:
                self.head += line


def run(port: int, requests: list[Request], read) -> Run:
    """Sends all requests at once and waits for the last token of the last.

    `read` turns an event into (tokens in this event, total of generated tokens if this event tells it)."""
    selector = selectors.DefaultSelector()
    streams = []
    for request in requests:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        streams.append(Stream(request, connection))
        selector.register(connection, selectors.EVENT_READ, streams[-1])
    texts = [message(request) for request in requests]
    began = time.perf_counter()
    for stream, text in zip(streams, texts):
        stream.socket.sendall(text)
    open_streams = len(streams)
    while open_streams:
        ready = selector.select(SILENCE)
        if not ready:
            raise RuntimeError(f"nothing came for {SILENCE:.0f} s")
        now = time.perf_counter() - began
        for key, _ in ready:
            data = key.fileobj.recv(1 << 16)
            if data:
                key.data.take(now, data)
            else:
                selector.unregister(key.fileobj)
                key.fileobj.close()
                open_streams -= 1
    selector.close()
    return Run([answer(stream, read) for stream in streams])


def message(request: Request) -> bytes:
    body = json.dumps(request.body).encode()
    head = f"POST {request.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer(stream: Stream, read) -> Answer:
    if not stream.head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{stream.request.path}: {(stream.head + stream.unread).decode(errors='replace')[:600]}")
    times, total = [], 0
    for when, event in stream.events:
        if event.strip() == b"[DONE]":
            continue
        has_token, counted = read(json.loads(event))
        if has_token:
            times.append(when)
        total = counted or total
    if total != stream.request.tokens or not times:
        raise RuntimeError(f"{stream.request.path}: {total} tokens came, {stream.request.tokens} were asked for")
    return Answer(stream.request.prompt_tokens, total, times)
