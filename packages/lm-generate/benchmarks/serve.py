"""Tokens a second of 16 clients streaming from `lm-generate serve`, beside `engine.batch` on the same 16 prompts.

    python benchmarks/serve.py                      # a random model of the size "S", made for the purpose
    python benchmarks/serve.py MODEL_FOLDER --clients 16 --slots 16 --threads 1 --json

The server is a process of its own; the clients are sockets of this one, which count events and do nothing else. The two take turns
in every round, and the ratio is the median of the rounds' own. Fairness is the slowest client's tokens a second over
the fastest's, from each client's own first byte sent to its last event; beneath 1 by queueing where there are fewer slots.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from latency import make_model
from lm_generate import Engine, load

OPTIONS = {"temperature": 0.8, "seed": 1}


async def client(port: int, prompt: list[int], new: int) -> tuple[int, float]:
    """Tokens that came, and seconds from the request to the last event."""
    body = {"prompt": prompt, "max_tokens": new, "stream": True, "ignore_eos": True, **OPTIONS}
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = time.perf_counter()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    writer.write(head.encode() + data)
    received = await reader.read()
    seconds = time.perf_counter() - started
    writer.close()
    assert received.startswith(b"HTTP/1.1 200 "), received[:500]
    assert b"[DONE]" in received, "a stream that was not ended"
    return new, seconds


async def all_clients(port: int, prompts: list[list[int]], new: int) -> tuple[float, float]:
    """Tokens a second of all together, and the slowest client's share of the fastest's speed."""
    started = time.perf_counter()
    found = await asyncio.gather(*(client(port, prompt, new) for prompt in prompts))
    seconds = time.perf_counter() - started
    speeds = [tokens / each for tokens, each in found]
    return sum(tokens for tokens, _ in found) / seconds, min(speeds) / max(speeds)


def alone(engine: Engine, prompts: list[list[int]], new: int, slots: int) -> float:
    started = time.perf_counter()
    engine.batch(prompts, max_tokens=new, stop_ids=(), slots=slots, temperature=0.8, seed=1)
    return len(prompts) * new / (time.perf_counter() - started)


def start_server(folder: Path, slots: int, threads: int) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "lm_generate", "serve", "--model", str(folder), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--slots", str(slots), "--threads", str(threads)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"page: http://127\.0\.0\.1:(\d+)/", line):
            return process, int(found[1])
    raise SystemExit("the server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="a model folder; without one a random model is made")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=64, help="prompt tokens (default 64)")
    parser.add_argument("--new", type=int, default=96, help="tokens of each client (default 96)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(arguments.model) if arguments.model else make_model(Path(made))
        engine = load(folder)
        process, port = start_server(folder, arguments.slots, arguments.threads)
        try:
            rounds = []
            for number in range(arguments.rounds + 1):
                prompts = [  # new ones in every round: none was read before
                    [(31 * i + 7 * row + 3 * number) % min(256, engine.config.vocab_size) for i in range(arguments.prompt)]
                    for row in range(arguments.clients)
                ]  # fmt: skip
                own = alone(engine, prompts, arguments.new, arguments.slots)
                served, fair = asyncio.run(all_clients(port, prompts, arguments.new))
                rounds.append((own, served, served / own, fair))
        finally:
            process.terminate()
            process.wait()
    rounds = rounds[1:]  # the first warms up
    own, served, ratio, fair = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratios = [each[2] for each in rounds]
    load_average = os.getloadavg()[0]
    if arguments.json:
        row = {
            "case": f"{arguments.clients} clients, {arguments.slots} slots, {arguments.threads} threads",
            "measure": "served",
            "unit": "tokens/s",
            "better": "higher",
            "runs": {
                "lm-generate serve": [each[1] for each in rounds],
                "engine.batch": [each[0] for each in rounds],
            },
        }
        print(json.dumps({"rows": [row]}))
        return
    print(
        f"{arguments.clients} clients, {arguments.slots} slots, {arguments.threads} threads, load {load_average:.1f}"
    )
    print(
        f"engine.batch {own:.0f} tokens/s, served {served:.0f}: {ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f}); "
        f"slowest client {fair:.2f} of the fastest"
    )


if __name__ == "__main__":
    main()
