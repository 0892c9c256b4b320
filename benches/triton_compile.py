"""Do the Triton kernels compile for a GPU, and do they fit? They are compiled here, without one, as far as machine code.

    python benches/triton_compile.py              # every tile shape that benches/gpu.py chooses from, for circle loss
    python benches/triton_compile.py --all_losses # one small tile shape, every kernel of every loss

Prints, for compute capability 9.0 (H100 and H200), the registers of a thread, the bytes that it spills to memory, and the
bytes of shared memory of a block, of which 232,448 can be had. What spills is slow; how slow, only a GPU shows.
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import triton
from gpu_parts import triton_kernels as kernels
from gpu_parts.kernel_speed import LOSSES, TORCH_PRECISION, candidates
from gpu_parts.triton_losses import Tiles, TritonLossKind, is_mined, logits_of
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pairlens.losses import Circle, NTXent

CAPABILITY = 90
SMALL = Tiles(rows=16, columns=16, depth=16, width=16, warps=1, stages=1)
POINTERS = {"labels": "*i64"}
NUMBERS = {"photos": "i32", "dim": "i32"}


def kernels_of(loss: TritonLossKind) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the kernels that a loss starts, with their constants."""
    logits = logits_of(loss).constants()
    if is_mined(loss):
        yield kernels.extremes_kernel, {}
    yield kernels.sums_kernel, {**logits, "MINED": is_mined(loss)}
    if isinstance(loss, NTXent):
        yield kernels.ratios_kernel, {"SCALE": 1 / loss.temperature}
    yield kernels.gradient_kernel, {**logits, "MINED": is_mined(loss), "RATIO": isinstance(loss, NTXent)}


def compile_kernel(kernel: Any, constants: dict[str, Any], tiles: Tiles) -> dict[str, int]:
    """Compile a kernel to machine code; returns registers, spilled bytes and bytes of shared memory."""
    shape = {"ROWS": tiles.rows, "COLUMNS": tiles.columns, "DEPTH": tiles.depth, "PRECISION": tiles.precision}
    constants = {**constants, **shape, "WIDTH": tiles.width}
    names = kernel.arg_names
    kinds = {name: "constexpr" if name.isupper() else {**NUMBERS, **POINTERS}.get(name, "*fp32") for name in names}
    fixed = {(names.index(name),): value for name, value in constants.items() if name in names}
    # As at run time: what PyTorch allocates begins at a multiple of 16 bytes, and so do rows of 512 numbers.
    aligned = {(place,): [["tt.divisibility", 16]] for place, name in enumerate(names) if not name.isupper()}
    source = ASTSource(kernel, kinds, fixed, aligned)
    options = {"num_warps": tiles.warps, "num_stages": tiles.stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", CAPABILITY, 32), options=options)
    used = resources(compiled.asm["cubin"])
    return {"registers": used["REG"], "spilled": used["STACK"] + used["LOCAL"], "shared": compiled.metadata.shared}


def resources(machine_code: bytes) -> dict[str, int]:
    """Return what NVIDIA's tool, which comes with Triton, reads of the use of registers and memory."""
    tool = next(Path(triton.__file__).parent.glob("backends/nvidia/bin/cuobjdump"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(machine_code)
        done = subprocess.run([tool, "-res-usage", file], capture_output=True, encoding="utf-8", check=True)
    return {name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all_losses", action="store_true", help="one small tile shape, every kernel of every loss")
    every = parser.parse_args().all_losses
    # Triton 3.9 warns unless this is said; it is what earlier versions do.
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    shapes = [SMALL] if every else [tiles for precision in TORCH_PRECISION for tiles in candidates(precision)]
    print("| loss | kernel | rows × columns, depth, width, warps, precision | registers | spilled | shared |")
    print("|---|---|---|---|---|---|")
    for name, loss in LOSSES.items() if every else {"circle": Circle()}.items():
        for tiles in shapes:
            for kernel, constants in kernels_of(loss):
                used = compile_kernel(kernel, constants, tiles)
                shape = (
                    f"{tiles.rows} × {tiles.columns}, {tiles.depth}, {tiles.width}, {tiles.warps}, {tiles.precision}"
                )
                print(f"| {name} | {kernel.__name__} | {shape} |", " | ".join(map(str, used.values())), "|", flush=True)


if __name__ == "__main__":
    main()
