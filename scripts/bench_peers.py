#!/usr/bin/env python3
"""Times other libraries' kernels and Statescope's in one run, on one card, from the same inputs.

Needs PyTorch and safetensors, and whichever peers shall be timed: flash-linear-attention (fla), FlashQLA
(flash_qla), FlashInfer (flashinfer); one that cannot be imported is listed as unavailable, with the reason.
A peer has no notion of subheads: it gets the E subheads of a head as E heads, with v repeated, and its outputs
are added over subheads outside the timed region. Every result, ours too, is held against the float64
reference of `statescope run --device cpu` on one batch row and head, and is not timed when it misses.

  scripts/bench_peers.py --expansion 1,8,16 --json peers.json
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ROTATED_BYTES = 512 << 20  # inputs in turn, more than any last-level cache
TOLERANCE = {"o": 5e-3, "dq": 8e-3, "dk": 8e-3, "dv": 8e-3, "dg": 2e-2, "dbeta": 2e-2}  # of 16-bit runs


@dataclass
class Sizes:
    batch: int
    seq_len: int
    heads: int
    expansion: int
    key_dim: int
    value_dim: int


@dataclass
class Row:
    rule: str
    pass_: str
    expansion: int
    who: str
    milliseconds: float | None = None
    p10: float | None = None
    p90: float | None = None
    errors: dict = field(default_factory=dict)
    unavailable: str = ""


def make_case(rule: str, s: Sizes, seed: int) -> dict:
    """Inputs of DESIGN section 1's shapes: unit keys and queries, gates of a trained model's range."""
    torch.manual_seed(seed)
    cuda = {"device": "cuda", "dtype": torch.float32}
    shape = (s.batch, s.seq_len, s.heads, s.expansion)
    unit = lambda: torch.nn.functional.normalize(torch.randn(*shape, s.key_dim, **cuda), dim=-1)
    log_sigmoid = torch.nn.functional.logsigmoid
    case = {
        "q": unit().bfloat16(),
        "k": unit().bfloat16(),
        "v": torch.randn(*shape[:3], s.value_dim, **cuda).bfloat16(),
        "do": torch.randn(*shape[:3], s.value_dim, **cuda).bfloat16(),
    }
    if rule == "gla":
        case["g"] = log_sigmoid(torch.randn(*shape, s.key_dim, **cuda)) / 16
    elif rule != "linear":
        case["g"] = log_sigmoid(torch.randn(*shape, **cuda)) / 16
    if rule == "gated_delta":
        case["beta"] = torch.rand(*shape, **cuda)
    return case


def as_peer(case: dict) -> dict:
    """[B, T, H, E, ...] as [B, T, H E, ...]; v and do repeated E times."""
    expansion = case["q"].shape[3]
    repeat = lambda x: x.repeat_interleave(expansion, dim=2)
    return {name: repeat(x) if name in ("v", "do") else x.flatten(2, 3).contiguous() for name, x in case.items()}


def of_first_head(case: dict) -> dict:
    return {name: x[:1, :, :1].contiguous().cpu() for name, x in case.items()}


def statescope(program: str, *arguments: str) -> None:
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"exit code {done.returncode}")


def reference(program: str, case: dict, rule: str, scale: float, directory: Path) -> dict:
    inputs, outputs = directory / "head.safetensors", directory / "reference.safetensors"
    save_file(of_first_head(case), inputs, {"rule": rule, "scale": repr(scale)})
    statescope(program, "run", "--device", "cpu", "--dtype", "bf16", "--input", str(inputs), "--output", str(outputs))
    return load_file(outputs)


def errors_of(found: dict, wanted: dict, expansion: int) -> dict:
    """RMS error over RMS of the first row and head, a peer's E heads folded back into one."""
    errors = {}
    for name, x in found.items():
        x = x[:1, :, :expansion].double()
        if name in ("o", "dv"):
            x = x.sum(dim=2, keepdim=True)
        y = wanted[name].double().to(x.device).reshape(x.shape)
        errors[name] = ((x - y).square().mean().sqrt() / y.square().mean().sqrt()).item()
    return errors


def missed(errors: dict) -> str:
    bad = {name: e for name, e in errors.items() if not e <= TOLERANCE[name]}
    return ", ".join(f"{name} {e:.1e} > {TOLERANCE[name]:.0e}" for name, e in bad.items())


def timed(run, sets: int, seconds: float) -> list:
    """Device milliseconds of run(i), i rotating over the input sets."""
    for i in range(max(3, sets)):
        run(i % sets)
    torch.cuda.synchronize()
    sample, spent = [], 0.0
    while spent < seconds * 1e3 or len(sample) < 20:
        pairs = []
        for i in range(20):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run((len(sample) + i) % sets)
            end.record()
            pairs.append((begin, end))
        torch.cuda.synchronize()
        sample += [begin.elapsed_time(end) for begin, end in pairs]
        spent = sum(sample)
    return sample


def set_times(row: Row, sample: list) -> None:
    tenths = statistics.quantiles(sample, n=10)
    row.milliseconds, row.p10, row.p90 = statistics.median(sample), tenths[0], tenths[-1]


# --- peers: each gives, for a rule, a function of (inputs, scale) that returns o [B, T, H E, V]


def fla(rule: str):
    os.environ["FLA_FLASH_QLA"] = "0"  # else it hands its calls to FlashQLA where that is installed
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    from fla.ops.gla import chunk_gla
    from fla.ops.linear_attn import chunk_linear_attn
    from fla.ops.simple_gla import chunk_simple_gla

    return {
        "gated_delta": lambda x, s: chunk_gated_delta_rule(x["q"], x["k"], x["v"], x["g"], x["beta"], scale=s)[0],
        "gla": lambda x, s: chunk_gla(x["q"], x["k"], x["v"], x["g"], scale=s)[0],
        "ssd": lambda x, s: chunk_simple_gla(x["q"], x["k"], x["v"], x["g"], scale=s)[0],
        "linear": lambda x, s: chunk_linear_attn(x["q"], x["k"], x["v"], scale=s, normalize=False)[0],
    }[rule]


def flash_qla(rule: str):
    from flash_qla import chunk_gated_delta_rule

    if rule != "gated_delta":
        raise RuntimeError(f"has no {rule}")
    return lambda x, s: chunk_gated_delta_rule(x["q"], x["k"], x["v"], x["g"], x["beta"], scale=s)[0]


def flashinfer(rule: str):
    from flashinfer.gdn_prefill import chunk_gated_delta_rule

    if rule != "gated_delta":
        raise RuntimeError(f"has no {rule}")

    def run(x, scale):  # takes packed sequences, and the gate itself rather than its logarithm
        batch, seq_len = x["q"].shape[:2]
        ends = torch.arange(0, batch + 1, device="cuda", dtype=torch.int64) * seq_len
        packed = {name: t.flatten(0, 1) for name, t in x.items()}
        o = chunk_gated_delta_rule(
            packed["q"], packed["k"], packed["v"], packed["g"].exp(), packed["beta"], scale=scale, cu_seqlens=ends
        )
        return (o[0] if isinstance(o, tuple) else o).view(batch, seq_len, *packed["v"].shape[1:])

    return run


PEERS = {"flash-linear-attention": fla, "FlashQLA": flash_qla, "FlashInfer": flashinfer}
FORWARD_ONLY = {"FlashInfer"}
GRADIENTS = {"q": "dq", "k": "dk", "v": "dv", "g": "dg", "beta": "dbeta"}


def run_peer(who: str, rule: str, pass_: str, case: dict, wanted: dict, scale: float, seconds: float) -> Row:
    expansion = case["q"].shape[3]
    row = Row(rule, pass_, expansion, who)
    try:
        function = PEERS[who](rule)
        if pass_ == "backward" and who in FORWARD_ONLY:
            raise RuntimeError("has no backward")
        bytes_a_set = sum(x.numel() * x.element_size() for x in case.values())
        sets = [as_peer(case) for _ in range(max(1, min(16, -(-ROTATED_BYTES // bytes_a_set))))]
        if pass_ == "forward":
            with torch.no_grad():
                row.errors = errors_of({"o": function(sets[0], scale)}, wanted, expansion)
                if bad := missed(row.errors):
                    raise RuntimeError(f"wrong: {bad}")
                set_times(row, timed(lambda i: function(sets[i], scale), len(sets), seconds))
            return row
        graphs = []
        for x in sets:
            leaves = [x[name].requires_grad_() for name in GRADIENTS if name in x]
            graphs.append((function(x, scale), leaves, x["do"]))
        gradients = lambda i: torch.autograd.grad(graphs[i][0], graphs[i][1], graphs[i][2], retain_graph=True)
        names = [GRADIENTS[name] for name in GRADIENTS if name in sets[0]]
        row.errors = errors_of(dict(zip(names, gradients(0))), wanted, expansion)
        if bad := missed(row.errors):
            raise RuntimeError(f"wrong: {bad}")
        set_times(row, timed(gradients, len(sets), seconds))
    except Exception as error:  # whatever a peer throws is its answer
        row.milliseconds = None
        row.unavailable = (str(error).strip() or type(error).__name__).splitlines()[0]
    return row


def run_ours(program: str, device: str, rule: str, pass_: str, expansion: int, file: Path, seconds: float) -> Row:
    row = Row(rule, pass_, expansion, "Statescope")
    report = file.with_suffix(".json")
    try:
        statescope(program, "bench", "--device", device, "--input", str(file), "--pass", pass_, "--json", str(report),
                   "--seconds", str(seconds))
        measurement = json.loads(report.read_text())["measurement"]
        row.errors = {e["output"]: e["error"] for e in measurement["errors"]}
        times = measurement["seconds"]
        row.milliseconds, row.p10, row.p90 = (1e3 * times[key] for key in ("median", "p10", "p90"))
    except RuntimeError as error:
        row.unavailable = str(error)
    return row


HEADER = f"{'rule':12} {'pass':9} {'E':>3}  {'library':24} {'ms':>8} {'p10':>8} {'p90':>8}  {'of ours':>7}  worst error"


def print_row(row: Row, ours: Row) -> None:
    head = f"{row.rule:12} {row.pass_:9} {row.expansion:3}  {row.who:24}"
    if row.milliseconds is None:
        print(f"{head} unavailable: {row.unavailable}", flush=True)
        return
    ratio = f"{row.milliseconds / ours.milliseconds:6.2f}x" if ours.milliseconds else "      -"
    worst = max(row.errors, key=lambda name: row.errors[name] / TOLERANCE.get(name, 5e-3))
    times = f"{row.milliseconds:8.3f} {row.p10:8.3f} {row.p90:8.3f}"
    print(f"{head} {times}  {ratio}  {worst} {row.errors[worst]:.1e}", flush=True)


def main() -> int:
    words = lambda text: text.split(",")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(Path(__file__).resolve().parent.parent / "build/release/app/statescope"))
    parser.add_argument("--device", default="cuda:0", help="Statescope's (default %(default)s)")
    parser.add_argument("--rule", type=words, default=["gated_delta", "gla", "ssd", "linear"], help="with commas between")
    parser.add_argument("--pass", dest="passes", type=words, default=["forward", "backward"], help="with commas between")
    parser.add_argument("--expansion", type=words, default=["1", "8", "16"], help="E, with commas between")
    parser.add_argument("--peers", type=words, default=list(PEERS), help="with commas between")
    for option, default in (("batch", 4), ("seq-len", 4096), ("heads", 8), ("key-dim", 128), ("value-dim", 128)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=0.5, help="about how long to time each")
    parser.add_argument("--json", help="write the rows to this file")
    a = parser.parse_args()
    if unknown := set(a.peers) - set(PEERS):
        parser.error(f"--peers: found {', '.join(sorted(unknown))}, wanted some of {', '.join(PEERS)}")
    if not torch.cuda.is_available():
        print("bench_peers: PyTorch finds no CUDA device", file=sys.stderr)
        return 3
    if not os.access(a.program, os.X_OK):
        print(f"bench_peers: {a.program}: not there, wanted the program (--program)", file=sys.stderr)
        return 2

    rows = []
    print(HEADER)
    for rule in a.rule:
        for expansion in map(int, a.expansion):
            sizes = Sizes(a.batch, a.seq_len, a.heads, expansion, a.key_dim, a.value_dim)
            print(f"{rule}, E {expansion}", file=sys.stderr)
            case = make_case(rule, sizes, seed=expansion)
            scale = sizes.key_dim**-0.5
            with tempfile.TemporaryDirectory() as name:
                directory = Path(name)
                wanted = reference(a.program, case, rule, scale, directory)
                file = directory / "case.safetensors"
                save_file({k: x.cpu() for k, x in case.items()}, file, {"rule": rule, "scale": repr(scale)})
                for pass_ in a.passes:
                    ours = run_ours(a.program, a.device, rule, pass_, expansion, file, a.seconds)
                    rows.append(ours)
                    print_row(ours, ours)
                    for who in a.peers:
                        rows.append(run_peer(who, rule, pass_, case, wanted, scale, a.seconds))
                        print_row(rows[-1], ours)
    if a.json:
        device = torch.cuda.get_device_properties(0)
        versions = {"torch": torch.__version__, "cuda": torch.version.cuda}
        for module in ("triton", "fla", "flash_qla", "flashinfer"):
            if module in sys.modules:
                versions[module] = getattr(sys.modules[module], "__version__", "unknown")
        document = {"schema": "statescope.peers/1", "device": device.name, "versions": versions,
                    "sizes": {**asdict(sizes), "expansion": a.expansion},
                    "rows": [{("pass" if k == "pass_" else k): v for k, v in asdict(row).items()} for row in rows]}
        Path(a.json).write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
