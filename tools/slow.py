"""What takes too long for every day: 10,000 damaged scans, rows of the shipped tables, and other versions of PyTorch, each in
an environment made from nothing.

    python tools/slow.py [fuzz] [tables] [kaggle] [p100]    all if none is named
    make test-slow

fuzz:   10,000 damaged DICOM and NIfTI files, where `make test` tries 150: a quarter of an hour on 2 cores.
tables: a row of each table that takes minutes, made again by its script in benchmarks/, and the demo with all its epochs:
20 minutes of a core.
kaggle: an environment with the versions of Kaggle's image, without our two packages; the kernel's test runs in it.
p100:   torch 2.7.1, the newest on PyPI that serves a P100; the whole test suite runs in it.
The last two take 6 GB of disk each, in a temporary folder (TMPDIR) that is removed at the end, or in the one that --keep names.
"""
import argparse, os, shutil, subprocess, sys, tempfile, time, tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# As reported of Kaggle's image of August 2026; what has no number here is whatever pip picks beside them.
KAGGLE = ["torch==2.10.0", "torchvision==0.25.0", "albumentations==2.0.8", "ipywidgets==8.1.5", "fastcore<2", "timm", "pydicom",
          "accelerate", "safetensors", "kaggle", "huggingface-hub", "packaging", "ipykernel"]
P100 = ["torch==2.7.1", "torchvision==0.22.1"]
OURS = ("segmentation-models-pytorch", "python-gdcm", "dicom-anonymizer")


def requirements() -> list[str]:
    "What pyproject.toml asks for, less what Kaggle's image lacks."
    project = tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]
    return [line for line in project["dependencies"] if not line.startswith(OURS)]


def environment(folder: Path, *packages: str) -> Path:
    "A new environment with these packages; its Python."
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python, uv = folder/"bin"/"python", Path(sys.executable).with_name("uv")      # as in the Makefile
    install = [uv, "pip", "install", "--python", python] if uv.is_file() else [python, "-m", "pip", "install"]
    subprocess.run([*install, "--quiet", *packages], check=True, cwd=ROOT)
    shown = "import torch, torchvision, numpy; print('torch', torch.__version__, 'torchvision', torchvision.__version__, 'numpy', numpy.__version__)"
    subprocess.run([python, "-c", shown], check=True, cwd=folder)
    return python


def fuzz(folder: Path) -> int:
    "The readers of scans against damaged files, in the environment this runs in."
    env = {**os.environ, "COVID_FUZZ": "10000"}
    return subprocess.run([sys.executable, "-m", "pytest", "tests/test_fuzz_scans.py"], cwd=ROOT, env=env).returncode


def tables(folder: Path) -> int:
    "All that is marked `table`, in the environment this runs in."
    return subprocess.run([sys.executable, "-m", "pytest", "-m", "table"], cwd=ROOT).returncode


def kaggle(folder: Path) -> int:
    "The kernel's test, its notebook executed by the environment's Python."
    python = environment(folder, *KAGGLE, *requirements())
    env = {**os.environ, "COVID_KERNEL_PYTHON": str(python)}
    return subprocess.run([sys.executable, "-m", "pytest", "tests/test_kernel.py"], cwd=ROOT, env=env).returncode


def p100(folder: Path) -> int:
    "Every test there is."
    python = environment(folder, "--editable", ".[dev]", *P100)
    return subprocess.run([python, "-m", "pytest", "-n", "2"], cwd=ROOT).returncode


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"fuzz": fuzz, "tables": tables, "kaggle": kaggle, "p100": p100}
    p.add_argument("parts", nargs="*", help="fuzz, tables, kaggle, p100; all if none is named")
    p.add_argument("--keep", type=Path, help="make the environments here, and leave them")
    a = p.parse_args()
    if odd := set(a.parts) - set(parts): p.error(f"found {', '.join(sorted(odd))}; expected fuzz, tables, kaggle or p100")
    base, results = a.keep or Path(tempfile.mkdtemp(prefix="slow-")), {}
    try:
        for name in a.parts or parts:
            start = time.perf_counter()
            print(f"== {name}", flush=True)
            try: status = parts[name](base/name)
            except subprocess.CalledProcessError as e: status = e.returncode
            results[name] = f"{'passed' if status == 0 else f'failed, status {status}'}, {time.perf_counter() - start:.0f} s"
            if not a.keep: shutil.rmtree(base/name, ignore_errors=True)
    finally:
        if not a.keep: shutil.rmtree(base, ignore_errors=True)
    for name, result in results.items(): print(f"{name}: {result}")
    return int(any("failed" in r for r in results.values()))


if __name__ == "__main__": sys.exit(main())
