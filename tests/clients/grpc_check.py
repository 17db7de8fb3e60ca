"""Lists a running daemon's gRPC services by reflection and streams an answer, with messages built from reflection alone.

    pip install grpcio grpcio-reflection
    adapterd serve &
    python grpc_check.py --address 127.0.0.1:8081 --adapter legal

No generated code: what works here works for `grpcurl` and its kind. Exits with 1 when a check fails.
"""

from __future__ import annotations

import argparse
import sys

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICES = {
    "adapterd.v1.Inference": ["Generate", "Tokenize"],
    "adapterd.v1.Adapters": ["List", "Get", "Register", "Promote", "Rollback", "Pin", "Load", "Unload", "Delete", "Watch"],
    "adapterd.v1.Training": ["SubmitData", "CreateJob", "PlanJob", "ListJobs", "GetJob", "CancelJob", "PauseJob", "ResumeJob", "WatchJob"],
    "grpc.health.v1.Health": ["Check"],
}
DEADLINE = 60


class Daemon:
    """Calls methods by name; requests are dictionaries."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.reflection = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.reflection)

    def method(self, service: str, name: str) -> MethodDescriptor:
        return self.pool.FindServiceByName(service).methods_by_name[name]

    def call(self, service: str, name: str, request: dict, metadata: tuple[tuple[str, str], ...] = ()):
        """The reply, or for a server stream the call, which gives replies one by one."""
        method = self.method(service, name)
        shape = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        answer = message_factory.GetMessageClass(method.output_type)
        stub = shape(f"/{service}/{name}", lambda message: message.SerializeToString(), answer.FromString)
        return stub(message_factory.GetMessageClass(method.input_type)(**request), metadata=metadata, timeout=DEADLINE)


def expect(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def generate(daemon: Daemon, request: dict, metadata: tuple[tuple[str, str], ...] = ()) -> tuple[list[int], str, Message]:
    """Token ids, text and the last Finish of one streamed answer."""
    ids: list[int] = []
    text, finish = "", None
    for event in daemon.call("adapterd.v1.Inference", "Generate", request, metadata):
        kind = event.WhichOneof("event")
        if kind == "token":
            text += event.token.text
            if event.token.HasField("id"):
                ids.append(event.token.id)
        elif kind == "finish":
            finish = event.finish
    expect(finish is not None, "the stream ended without Finish")
    return ids, text, finish


def services(daemon: Daemon, _: str) -> None:
    listed = daemon.reflection.get_services()
    for service, methods in SERVICES.items():
        expect(service in listed, f"{service} is not listed, only {listed}")
        known = daemon.pool.FindServiceByName(service).methods_by_name
        expect(set(methods) <= set(known), f"{service} has only {sorted(known)}")
    print("        " + ", ".join(listed))


def health(daemon: Daemon, _: str) -> None:
    expect(daemon.call("grpc.health.v1.Health", "Check", {}).status == 1, "not SERVING")


def base(daemon: Daemon, _: str) -> None:
    request = {"prompt": "The tenant shall", "sampling": {"temperature": 0, "max_tokens": 12, "ignore_eos": True, "logprobs": 0}}
    ids, text, finish = generate(daemon, request)
    expect(len(ids) == 12, f"12 tokens were asked for, {len(ids)} came")
    expect(finish.reason == "length" and finish.usage.completion_tokens == 12, "Finish is wrong")
    expect(finish.adapter_generation == "none", "the base has a generation")
    expect(generate(daemon, request)[:2] == (ids, text), "greedy, twice, different")
    prompt = daemon.call("adapterd.v1.Inference", "Tokenize", {"prompt": "The tenant shall"})
    expect(prompt.count == len(prompt.tokens) == finish.usage.prompt_tokens, "Tokenize counts otherwise")
    by_ids = {"token_ids": {"ids": list(prompt.tokens)}, "sampling": request["sampling"]}
    expect(generate(daemon, by_ids)[0] == ids, "the same prompt as ids is answered differently")


def adapter(daemon: Daemon, name: str) -> None:
    messages = [{"role": "user", "content": "The clerk is Ada."}]
    chat = {"messages": {"messages": messages}, "sampling": {"temperature": 0, "max_tokens": 16}}
    answers = [
        generate(daemon, chat | {"adapter": name}),
        generate(daemon, chat | {"model": name}),
        generate(daemon, chat, (("adapter", name),)),
    ]
    expect(len({text for _, text, _ in answers}) == 1, "three ways to name it, different answers")
    generations = {finish.adapter_generation for _, _, finish in answers}
    kept = daemon.call("adapterd.v1.Adapters", "Get", {"name": name}).generation
    expect(generations == {kept}, f"answered by {generations}, registered {kept}")
    expect(name in [a.id for a in daemon.call("adapterd.v1.Adapters", "List", {}).adapters], "not listed")


def errors(daemon: Daemon, _: str) -> None:
    for code, request in [
        (grpc.StatusCode.NOT_FOUND, {"prompt": "x", "adapter": "no-such-name"}),
        (grpc.StatusCode.INVALID_ARGUMENT, {"prompt": "x", "sampling": {"temperature": -1}}),
        (grpc.StatusCode.INVALID_ARGUMENT, {}),
    ]:
        try:
            list(daemon.call("adapterd.v1.Inference", "Generate", request))
        except grpc.RpcError as fault:
            expect(fault.code() is code, f"{request}: {fault.code()}: {fault.details()}")
        else:
            raise AssertionError(f"{request} was answered")


def cancel(daemon: Daemon, _: str) -> None:
    request = {"prompt": "The", "sampling": {"max_tokens": 200, "ignore_eos": True}}
    stream = daemon.call("adapterd.v1.Inference", "Generate", request)
    next(stream)
    stream.cancel()
    generate(daemon, {"prompt": "The", "sampling": {"max_tokens": 1}})


CHECKS = [services, health, base, adapter, errors, cancel]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:8081", help="(%(default)s)")
    parser.add_argument("--adapter", default="legal", help="a registered adapter (%(default)s)")
    arguments = parser.parse_args()
    daemon = Daemon(arguments.address)
    failed = 0
    for check in CHECKS:
        try:
            check(daemon, arguments.adapter)
            print(f"ok      {check.__name__}")
        except grpc.RpcError as fault:
            failed += 1
            print(f"FAILED  {check.__name__}: {fault.code()}: {fault.details()}")
            if fault.code() is grpc.StatusCode.UNAVAILABLE:
                break
        except (AssertionError, KeyError, ValueError, StopIteration) as fault:
            failed += 1
            print(f"FAILED  {check.__name__}: {type(fault).__name__}: {fault}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
