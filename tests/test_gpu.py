"""Devices and builds of PyTorch, as recorded: what check_gpu says and does before anything runs. No GPU is needed."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import covid_nbdev.devices as d
import covid_nbdev.results as results
from covid_nbdev.core import BadInput
from covid_nbdev.devices import bf16_pays, check_gpu, choose_precision, gpu_verdicts, launched_accelerator, unused_gpus
from covid_nbdev.hu import Standardizer
from covid_nbdev.train import Learner, TrainConfig

ARCHS = {"2.7.1": "sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90", "2.10.0": "sm_70 sm_75 sm_80 sm_86 sm_90 sm_100 sm_120",
         "2.15.0": "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120"}
ROCM = "gfx900 gfx906 gfx908 gfx90a gfx942 gfx1030 gfx1100"
MI250, VEGA, RX6800 = ("AMD Instinct MI250X", (9, 0)), ("Radeon Vega 64", (9, 0)), ("AMD Radeon RX 6800", (10, 3))
P100, V100, T4 = ("Tesla P100-PCIE-16GB", (6, 0)), ("Tesla V100-SXM2-16GB", (7, 0)), ("Tesla T4", (7, 5))
L4, H100, K80 = ("NVIDIA L4", (8, 9)), ("NVIDIA H100 80GB HBM3", (9, 0)), ("Tesla K80", (3, 7))


@pytest.fixture
def machine(monkeypatch):
    "Pretend to be a machine with these devices and this PyTorch; `has` is what else there is."
    def be(version, *devices, hip=None, cuda="13.0", mps=False, xpu=False, platform="Linux", has=()):
        monkeypatch.setattr(torch, "__version__", version)
        monkeypatch.setattr(torch.version, "hip", hip); monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.xpu, "is_available", lambda: xpu)
        monkeypatch.setattr(d.platform, "system", lambda: platform)
        monkeypatch.setattr(d.platform, "machine", lambda: "arm64" if platform == "Darwin" else "x86_64")
        monkeypatch.setattr(d.shutil, "which", lambda name: name if name in has else None)
        monkeypatch.setattr(d.os.path, "exists", lambda path: path in has)
        for kind in ("CUDA", "HIP", "ROCR"): monkeypatch.delenv(f"{kind}_VISIBLE_DEVICES", raising=False)
        for name, value in {"is_available": lambda: bool(devices), "device_count": lambda: len(devices),
                            "get_device_name": lambda i=0: devices[i][0], "get_device_capability": lambda i=0: devices[i][1],
                            "get_arch_list": lambda: (ROCM if hip else ARCHS[version] if devices else "").split()}.items():
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
    with pytest.raises(BadInput, match="auto, cuda, mps or cpu"): check_gpu("tpu")


def test_the_second_of_two(machine, capsys):
    machine("2.15.0", P100, T4)
    assert check_gpu() == torch.device("cuda", 1)
    assert "another GPU" in capsys.readouterr().out


@pytest.mark.parametrize("devices", [(MI250,), (VEGA,), (RX6800, MI250)], ids=str)
def test_rocm(machine, devices, capsys):
    "Its arch list names chips, and capabilities mean something else: is_available is trusted, and fp32 is right on all."
    machine("2.10.0+rocm6.4", *devices, hip="6.4.43482", cuda=None, has=["/dev/kfd"])
    assert check_gpu() == check_gpu("cuda") == torch.device("cuda", 0)
    assert gpu_verdicts() == [""]*len(devices)
    assert capsys.readouterr().out == ""
    for _, capability in devices:
        assert [choose_precision(p, capability) for p in ("auto", "fp32", "fp16", "bf16")] == ["fp32", "fp32", "fp16", "bf16"]


def test_rocm_without_a_gpu(machine, capsys):
    machine("2.10.0+rocm6.4", hip="6.4.43482", cuda=None)
    assert unused_gpus() == [] and check_gpu() == torch.device("cpu") and capsys.readouterr().out == ""
    with pytest.raises(BadInput, match="no GPU") as e: check_gpu("cuda")
    assert "pip install" not in str(e.value)


def test_mps(machine, capsys):
    "Apple's GPU: taken by itself, in 32 bits; it is no CUDA device."
    machine("2.15.0", cuda=None, mps=True, platform="Darwin")
    assert check_gpu() == check_gpu("mps") == torch.device("mps") and capsys.readouterr().out == ""
    assert check_gpu("cpu") == torch.device("cpu")
    assert choose_precision("auto", None) == "fp32"
    with pytest.raises(BadInput, match="fp16 without a GPU of NVIDIA or AMD"): choose_precision("fp16", None)
    with pytest.raises(BadInput, match="a GPU for mps alone.*device auto or cpu"): check_gpu("cuda")


def test_mps_is_not_there(machine):
    for devices in ((), (T4,)):
        machine("2.15.0", *devices)
        with pytest.raises(BadInput, match="no GPU for mps.*device auto or cpu"): check_gpu("mps")


def test_several_processes_do_not_share_mps(monkeypatch):
    import accelerate
    made = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(accelerate, "Accelerator", lambda **options: made.update(options))
    for device, cpu in (("mps", True), ("cpu", True), ("cuda", False)):
        launched_accelerator(torch.device(device))
        assert made["cpu"] == cpu


@pytest.mark.parametrize("there, maker", [
    (dict(has=["/dev/kfd"]), "AMD"), (dict(has=["/dev/kfd"], hip="6.4", cuda=None), "AMD"),     # another build; no right to open it
    (dict(has=["nvidia-smi"], cuda=None), "NVIDIA"), (dict(has=["nvidia-smi"]), "NVIDIA"),      # another build; an old driver
    (dict(platform="Darwin", cuda=None), "Apple"), (dict(xpu=True, cuda=None), "Intel")], ids=str)
def test_a_gpu_that_is_not_used_is_named(machine, there, maker, capsys, monkeypatch):
    "In one line, which never offers a wheel of NVIDIA's: it would replace the build for another maker."
    machine("2.15.0", **there)
    assert check_gpu() == torch.device("cpu")
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and f"found a GPU of {maker}, which" in out and out.endswith("Computing on the CPU.\n") and "pip install" not in out
    with pytest.raises(BadInput, match=f"a GPU of {maker}.*device auto or cpu"): check_gpu("cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert check_gpu() == check_gpu("cpu") == torch.device("cpu") and capsys.readouterr().out == "", "hidden on purpose, or not asked for"


def test_beside_a_gpu_that_is_used_nothing_is_said(machine, capsys):
    machine("2.15.0", T4, has=["/dev/kfd", "nvidia-smi"], xpu=True)
    assert check_gpu() == torch.device("cuda", 0) and capsys.readouterr().out == ""


def test_bad_gpu_and_mps(machine, capsys):
    "An old NVIDIA card beside nothing else is named, with the line that installs what serves it."
    machine("2.15.0", P100, mps=True)
    assert check_gpu() == torch.device("mps")
    assert "another GPU" in capsys.readouterr().out


@pytest.fixture
def cpu(monkeypatch):
    "Pretend to be a CPU with these units, and a PyTorch that has, or has not, these ways to say so."
    def be(units=(), public=True, private=True):
        monkeypatch.setattr(d, "BF16_FROM", 256)
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
        monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
        if public: monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(units, True), raising=False)
        if private: monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: "avx512_bf16" in units, raising=False)
    return be


@pytest.mark.parametrize("units, pays", [(["amx_bf16"], True), (["avx512_bf16"], True), (["amx_bf16", "avx512_bf16"], True), (["avx2"], False),
                                         (["avx512_f", "avx512_vnni"], False), (["amx_tile", "amx_int8"], False), (["neon", "bf16"], False), ([], False)], ids=str)
def test_units_of_a_cpu(cpu, units, pays):
    "Once it is allowed from 256 pixels on; for the CPU alone. bf16 of ARM was not measured."
    cpu(units)
    for size, large in ((32, False), (224, False), (256, True), (512, True)):
        assert bf16_pays("cpu", size) is bf16_pays(torch.device("cpu"), size) is (pays and large)
        assert not bf16_pays("mps", size) and not bf16_pays(torch.device("cuda", 1), size)


def test_auto_waits_for_scores(cpu, monkeypatch):
    "As shipped, no side is large enough: equal scores were not shown yet."
    shipped = d.BF16_FROM
    cpu(["amx_bf16"])
    monkeypatch.setattr(d, "BF16_FROM", shipped)
    assert not bf16_pays("cpu", 4096) and learner(size=512).precision == "fp32" and learner(size=512, precision="bf16").precision == "bf16"


def test_older_pytorch_knows_less_of_a_cpu(cpu):
    cpu(["avx512_bf16"], public=False)
    assert bf16_pays("cpu", 256)
    cpu(["avx2"], public=False)
    assert not bf16_pays("cpu", 256)
    cpu(["avx512_bf16"], public=False, private=False)
    assert not bf16_pays("cpu", 256)


def learner(**settings):
    return Learner(torch.nn.Conv2d(1, 4, 1), SimpleNamespace(train=[0]), TrainConfig(**settings))


def test_training_on_a_cpu_with_bf16(cpu):
    "auto takes it from 256 pixels on; who asks for a precision gets it. Logits, weights and gradients stay in 32 bits."
    cpu(["amx_bf16"])
    assert [learner(size=size).precision for size in (32, 224, 256, 512)] == ["fp32", "fp32", "bf16", "bf16"]
    assert learner(size=512, precision="fp32").precision == "fp32" and learner(size=32, precision="bf16").precision == "bf16"
    learn, x = learner(size=256), torch.randn(1, 1, 32, 32)
    logits = learn.predict(x)
    assert logits.dtype == torch.float32 and torch.equal(logits, logits.bfloat16().float()), "computed in 16 bits"
    torch.testing.assert_close(logits, learn.model(x), rtol=.02, atol=.02)
    logits.sum().backward()
    assert learn.model.weight.dtype == learn.model.weight.grad.dtype == torch.float32
    cpu(["avx2"])
    learn = learner(size=256)
    assert learn.precision == "fp32" and torch.equal(learn.predict(x), learn.model(x)), "without units nothing changes, to the last bit"


@pytest.mark.parametrize("size, tta", [(256, False), (256, True), (128, False)], ids=str)
def test_prediction_on_a_cpu_with_bf16(cpu, monkeypatch, size, tta):
    "At its network's own size, whatever the slice's; both views with test-time augmentation."
    net, standardizer = torch.nn.Conv2d(1, 4, 3, padding=1).eval(), Standardizer(-600., 400.)
    monkeypatch.setattr(results, "load_model", lambda run, device: (net, {"size": size, "standardizer": standardizer}))
    predictor, hu = results.Predictor("run", torch.device("cpu"), tta=tta), np.random.default_rng(0).integers(-1000, 400, (96, 80)).astype(np.int16)
    cpu(["avx2"])
    full = predictor.logits(hu)
    cpu(["avx512_bf16"])
    half = predictor.logits(hu)
    assert full.dtype == half.dtype == torch.float32 and full.shape == half.shape == (4, 96, 80)
    assert torch.equal(full, half) == (size < 256), "16 bits leave traces"
    torch.testing.assert_close(full, half, rtol=.05, atol=.05)
    assert predictor(hu).dtype == np.uint8
