"""Devices and builds of PyTorch, as recorded: what check_gpu says and does before anything runs. No GPU is needed."""
import pytest
import torch

from covid_nbdev.core import BadInput
from covid_nbdev.devices import check_gpu

ARCHS = {"2.7.1": "sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90", "2.10.0": "sm_70 sm_75 sm_80 sm_86 sm_90 sm_100 sm_120",
         "2.15.0": "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120"}
P100, V100, T4 = ("Tesla P100-PCIE-16GB", (6, 0)), ("Tesla V100-SXM2-16GB", (7, 0)), ("Tesla T4", (7, 5))
L4, H100, K80 = ("NVIDIA L4", (8, 9)), ("NVIDIA H100 80GB HBM3", (9, 0)), ("Tesla K80", (3, 7))


@pytest.fixture
def machine(monkeypatch):
    "Pretend to be a machine with these devices and this PyTorch."
    def be(version, *devices):
        monkeypatch.setattr(torch, "__version__", version)
        for name, value in {"is_available": lambda: bool(devices), "device_count": lambda: len(devices),
                            "get_device_name": lambda i=0: devices[i][0], "get_device_capability": lambda i=0: devices[i][1],
                            "get_arch_list": lambda: ARCHS[version].split() if devices else []}.items():
            monkeypatch.setattr(torch.cuda, name, value)
    return be


@pytest.mark.parametrize("version, device", [("2.7.1", P100), ("2.10.0", V100)] + [(v, d) for v in ARCHS for d in (T4, L4, H100)],
                         ids=str)
def test_good_pairs(machine, version, device, capsys):
    machine(version, device)
    assert check_gpu() == check_gpu("cuda") == torch.device("cuda", 0)
    assert capsys.readouterr().out == ""
    assert check_gpu("cpu").type == "cpu"


@pytest.mark.parametrize("version, device, line", [
    ("2.10.0", P100, "pip install torch==2.7.1 torchvision==0.22.1"),
    ("2.15.0", P100, "pip install torch==2.7.1 torchvision==0.22.1"),
    ("2.15.0", V100, "pip install torch==2.10.0 torchvision==0.25.0"),
    ("2.15.0", K80, "no PyTorch on PyPI serves it any more")], ids=str)
def test_bad_pairs(machine, version, device, line, capsys):
    "auto: one line and the CPU. cuda: an error with the same facts."
    machine(version, device)
    assert check_gpu() == torch.device("cpu")
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and device[0] in out and version in out and line in out and "the CPU" in out
    with pytest.raises(BadInput, match="device auto or cpu") as e: check_gpu("cuda")
    assert line in str(e.value) and device[0] in str(e.value)


def test_none(machine, capsys):
    machine("2.15.0")
    assert check_gpu() == torch.device("cpu") and capsys.readouterr().out == ""
    with pytest.raises(BadInput, match="no GPU"): check_gpu("cuda")
    with pytest.raises(BadInput, match="auto, cuda or cpu"): check_gpu("tpu")


def test_the_second_of_two(machine, capsys):
    machine("2.15.0", P100, T4)
    assert check_gpu() == torch.device("cuda", 1)
    assert "another GPU" in capsys.readouterr().out
