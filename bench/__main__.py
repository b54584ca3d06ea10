"""``make bench``: what a request costs through llmproxyd, beside nginx and a bare aiohttp proxy, in one run.

``python -m bench money`` is another one, of the books and the cache: see ``bench.money``.

Every figure is printed with its unit; CPU is what the kernel charged the proxy's processes. The parties take turns,
several rounds, and the median of the rounds is shown, because the machine is never quiet.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import load
from bench.upstream import CHUNKS

ROOT = Path(__file__).resolve().parent.parent
PORTS = {"direct": 18500, "nginx": 18501, "bare aiohttp": 18502, "llmproxyd": 18503}
PAUSE_MS = 2.0

PROVIDERS = f"""
version: 1
providers:
  bench:
    preset: openai-compatible
    endpoint: http://127.0.0.1:{PORTS["direct"]}/v1
    zone: local
    models: [{{id: bench-model, price: free}}]
"""
ROUTING = """
version: 1
models: {fast: [bench/bench-model]}
pipeline:
  cost: [{name: cheapest first, rank_by: price, within: 10%}]
  performance: [{name: fastest first, rank_by: latency}]
"""
NGINX = """
daemon off; worker_processes 1; error_log stderr crit; pid {dir}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p;
  fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  upstream up {{ server 127.0.0.1:{up}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 1000000; client_body_buffer_size 1m;
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; }}
  }}
}}
"""


@dataclass
class Party:
    """A proxy under measurement; ``pids`` are charged for its work."""

    name: str
    port: int
    pids: list[int]


def chat(*, stream: bool) -> bytes:
    """A request of about 2.5 KB, as a program sends it."""
    text = "Please summarise the following notes about the weather in the north. " * 32
    body = {
        "model": "bench-model",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}],
        "temperature": 0.2,
    }
    if stream:
        body["stream"] = True
    return json.dumps(body).encode()


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Running as long as the block does. What it logs is written, and read by nobody."""
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    running = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.DEVNULL)
    try:
        yield running
        if running.poll() is not None:
            raise SystemExit(f"{' '.join(command[:4])} … ended by itself with status {running.returncode}")
    finally:
        running.terminate()
        running.wait(10)


def wait_for(port: int, *, timeout_s: float = 20.0) -> float:
    """Seconds until a chat request to ``port`` is answered with 200."""
    start = time.perf_counter()
    request = load.http_request(port, chat(stream=False))
    while time.perf_counter() - start < timeout_s:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as wire:
                wire.sendall(request)
                if wire.recv(64).startswith(b"HTTP/1.1 200"):
                    return time.perf_counter() - start
        except OSError:
            time.sleep(0.002)
    raise SystemExit(f"nothing answers on port {port}")


def daemon_command(
    config_dir: Path, state_dir: Path, port: int, program: Sequence[str] = ("llmproxyd",)
) -> tuple[str, ...]:
    where = ("--config-dir", str(config_dir), "--state-dir", str(state_dir), "--listen", f"127.0.0.1:{port}")
    return (sys.executable, "-m", *program, "run", *where, "--log-format", "json")


def refuse_if_taken() -> None:
    """Somebody else on one of our ports would be measured in our place."""
    for name, port in PORTS.items():
        with socket.socket() as wire:
            if wire.connect_ex(("127.0.0.1", port)) == 0:
                raise SystemExit(f"port {port} (for {name}) is taken: stop what listens there")


def start_parties(stack: ExitStack, directory: Path) -> list[Party]:
    (directory / "providers.yaml").write_text(PROVIDERS)
    (directory / "routing.yaml").write_text(ROUTING)
    stack.enter_context(process(sys.executable, "-m", "bench.upstream", str(PORTS["direct"]), str(PAUSE_MS)))
    wait_for(PORTS["direct"])
    parties = [Party("direct", PORTS["direct"], [])]
    if nginx := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin"):
        conf = directory / "nginx.conf"
        conf.write_text(NGINX.format(dir=directory, up=PORTS["direct"], port=PORTS["nginx"]))
        master = stack.enter_context(process(nginx, "-c", str(conf), "-p", str(directory)))
        wait_for(PORTS["nginx"])
        children = Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()
        parties.append(Party("nginx", PORTS["nginx"], [int(pid) for pid in children]))
    else:
        print("nginx is not installed (apt-get install nginx-light): its rows are missing")
    upstream = f"http://127.0.0.1:{PORTS['direct']}"
    bare = stack.enter_context(
        process(sys.executable, "-m", "bench.bare_proxy", str(PORTS["bare aiohttp"]), upstream)
    )
    wait_for(PORTS["bare aiohttp"])
    parties.append(Party("bare aiohttp", PORTS["bare aiohttp"], [bare.pid]))
    ours = stack.enter_context(process(*daemon_command(directory, directory / "state", PORTS["llmproxyd"])))
    wait_for(PORTS["llmproxyd"])
    parties.append(Party("llmproxyd", PORTS["llmproxyd"], [ours.pid]))
    return parties


async def whole_round(party: Party, requests: int) -> dict[str, float]:
    body = chat(stream=False)
    await load.run(party.port, body, requests=200, connections=16)
    before = load.cpu_s(party.pids)
    busy = await load.run(party.port, body, requests=requests, connections=16)
    cpu = load.cpu_s(party.pids) - before
    quiet = await load.run(party.port, body, requests=300, connections=1)
    if busy.failures or quiet.failures:
        raise SystemExit(f"{party.name}: {busy.failures + quiet.failures} failed requests")
    return {"cpu_us": cpu / requests * 1e6, "p50_us": quiet.p50_s * 1e6}


async def stream_round(party: Party, requests: int) -> dict[str, float]:
    body = chat(stream=True)
    before = load.cpu_s(party.pids)
    result = await load.run(party.port, body, requests=requests, connections=20, mark=b" and so on")
    cpu = load.cpu_s(party.pids) - before
    quiet = await load.run(party.port, body, requests=8, connections=1, mark=b" and so on")
    if result.failures:
        raise SystemExit(f"{party.name}: {result.failures} failed streams")
    return {"chunk_us": cpu / requests / CHUNKS * 1e6, "first_us": quiet.first_p50_s * 1e6}


def measure(parties: list[Party], *, rounds: int, requests: int, streams: int) -> dict[str, dict[str, float]]:
    seen: dict[str, dict[str, list[float]]] = {party.name: {} for party in parties}
    for _ in range(rounds):
        for party in parties:
            figures = asyncio.run(whole_round(party, requests)) | asyncio.run(stream_round(party, streams))
            for name, value in figures.items():
                seen[party.name].setdefault(name, []).append(value)
    return {
        name: {figure: statistics.median(values) for figure, values in figures.items()}
        for name, figures in seen.items()
    }


def starts(directory: Path, rounds: int) -> float:
    """Median seconds from exec to the first 200."""
    seen = []
    for _ in range(rounds):
        with process(*daemon_command(directory, directory / "state", PORTS["llmproxyd"])):
            seen.append(wait_for(PORTS["llmproxyd"]))
    return statistics.median(seen)


def check_time(rounds: int) -> float:
    """Median seconds of a whole ``llmproxyd check`` over about 300 lines."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        models = "".join(f"      - {{id: m{n}, price: free}}\n" for n in range(110))
        rules = "".join(
            f"    - name: rule {n}\n      when: {{project: p{n}}}\n      prefer: [lab]\n" for n in range(60)
        )
        (directory / "providers.yaml").write_text(
            "version: 1\nproviders:\n  lab:\n    preset: openai-compatible\n"
            f"    endpoint: http://127.0.0.1:9/v1\n    models:\n{models}"
        )
        (directory / "routing.yaml").write_text(
            f"version: 1\nmodels: {{auto: any}}\npipeline:\n  cost:\n{rules}"
        )
        command = [sys.executable, "-m", "llmproxyd", "check", "--config-dir", name]
        seen = []
        for _ in range(rounds):
            start = time.perf_counter()
            subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
            seen.append(time.perf_counter() - start)
        return statistics.median(seen)


def report(figures: dict[str, dict[str, float]]) -> None:
    direct = figures["direct"]
    print(f"{'':14}{'CPU/request':>14}{'added p50':>12}{'first token':>14}{'CPU/chunk':>12}")
    for name, row in figures.items():
        added = row["p50_us"] - direct["p50_us"]
        first = row["first_us"] - direct["first_us"]
        print(f"{name:14}{row['cpu_us']:11.0f} µs{added:9.0f} µs{first:11.0f} µs{row['chunk_us']:9.1f} µs")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000, help="per round and party")
    parser.add_argument("--streams", type=int, default=60, help="per round and party")
    options = parser.parse_args()
    refuse_if_taken()
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.platform()}")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        parties = start_parties(stack, directory)
        figures = measure(parties, rounds=options.rounds, requests=options.requests, streams=options.streams)
        report(figures)
        print(f"llmproxyd resident after the load: {load.rss_mib(parties[-1].pids):.1f} MiB")
        stack.close()
        with process(sys.executable, "-m", "bench.upstream", str(PORTS["direct"]), str(PAUSE_MS)):
            wait_for(PORTS["direct"])
            print(f"start to first 200: {starts(directory, options.rounds) * 1000:.0f} ms")
    print(f"check of about 300 lines: {check_time(options.rounds) * 1000:.0f} ms")


if __name__ == "__main__":
    uvloop.install()
    if sys.argv[1:2] == ["money"]:
        from bench import money

        sys.exit(money.main(sys.argv[2:]))
    main()
