"""U-Net and U-Net++: shapes, weights, what a node takes, the same network as lesson 00's, and batch normalization as 11 explains it."""
import json

import pytest
import torch
from torch import nn

from conftest import ROOT
from covid_nbdev.core import BadInput
from covid_nbdev.unet import UNet, UNetPlusPlus, check_sides, conv_block, node_inputs, upsampling


def count(module): return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("kind", [UNet, UNetPlusPlus])
@pytest.mark.parametrize("upsample", ["transpose", "nearest"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_any_side_that_can_be_halved(kind, upsample, depth):
    step = 2**depth
    network = kind(in_channels=2, classes=3, width=4, depth=depth, upsample=upsample)
    for height, width in ((step*2, step*2), (step*2, step*5), (step*3, step*7)):
        assert network(torch.randn(2, 2, height, width)).shape == (2, 3, height, width)
        for wrong in ((height + 1, width), (height, width + step//2)):
            with pytest.raises(BadInput, match=rf"{wrong[0]}x{wrong[1]}.*divisible by 2\^{depth} = {step}") as refused:
                network(torch.zeros(1, 2, *wrong))
            assert "\n" not in str(refused.value)


def test_parameters():
    assert count(UNet(upsample="nearest")) == 487_764
    assert count(conv_block(16, 32)) == 9*16*32 + 9*32*32 + 4*32
    assert count(UNet()) - count(UNet(upsample="nearest")) == sum(4*c*c + c for c in (128, 64, 32))
    assert [m.bias is None for m in UNet().modules() if type(m) is nn.Conv2d] == [True]*14 + [False]


def test_nodes_take_what_the_paper_says():
    assert node_inputs(1, 2) == [(1, 0), (1, 1), (2, 1)]
    assert (node_inputs(0, 0), node_inputs(3, 0), node_inputs(0, 4)) == ([], [(2, 0)], [(0, 0), (0, 1), (0, 2), (0, 3), (1, 3)])
    network = UNetPlusPlus(width=8, depth=4)
    assert len(network.nodes()) == 15 and set(network.blocks) == {f"{i},{j}" for i, j in network.nodes()}
    for (i, j), block in zip(network.nodes(), network.blocks.values()):
        assert block[0].in_channels == ((j + 2)*8*2**i if j else 4*2**i if i else 1)
        assert block[3].out_channels == 8*2**i


def test_the_grid_joins_what_its_nodes_say():
    "What flows into each block, looked up among the maps that flowed before."
    network, seen = UNetPlusPlus(width=4, upsample="nearest").eval(), {}
    def look(node):
        def hook(block, entering, out): seen[node] = entering[0], out
        return hook
    for node in network.nodes(): network.blocks[f"{node[0]},{node[1]}"].register_forward_hook(look(node))
    with torch.no_grad(): network(torch.randn(1, 1, 16, 24))
    for (i, j), (entering, _) in seen.items():
        if j == 0: continue
        *left, below = (seen[node][1] for node in node_inputs(i, j))
        torch.testing.assert_close(entering, torch.cat([*left, nn.functional.interpolate(below, scale_factor=2)], dim=1))


def test_the_same_network_as_lesson_00s():
    "From the same seed the same weights, in the same order, and the same numbers."
    cells = json.loads((ROOT/"nbs"/"00_first_model.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    written = {"torch": torch, "nn": nn, "CLASSES": range(4)}
    for start in ("def block(", "class SmallUNet("): exec(next(s for s in sources if s.startswith(start)), written)
    networks = []
    for make in (written["SmallUNet"], lambda: UNet(upsample="nearest")):
        torch.manual_seed(7)
        networks.append(make())
    first, ours = (n.state_dict() for n in networks)
    assert list(first) == list(ours) and all(torch.equal(first[k], ours[k]) for k in first)
    x = torch.randn(2, 1, 32, 40)
    torch.testing.assert_close(networks[0](x), networks[1](x))


def test_upsampling_starts_as_nearest_neighbor():
    x = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(upsampling(5)(x), upsampling(5, "nearest")(x))
    with pytest.raises(BadInput, match="transpose or nearest"): upsampling(5, "bilinear")
    check_sides(torch.zeros(8, 24), 3)


def test_batch_normalization_by_hand():
    "Lesson 11's class against torch's: minibatches of several sizes, then evaluation."
    cells = json.loads((ROOT/"nbs"/"11_unet.ipynb").read_text(encoding="utf-8"))["cells"]
    written = {"torch": torch}
    exec(next(s for s in ("".join(c["source"]) for c in cells) if s.startswith("class BatchNorm:")), written)
    for momentum in (.1, .01):
        ours, torchs = written["BatchNorm"](3, momentum), nn.BatchNorm2d(3, momentum=momentum)
        for size in (2, 5, 8):
            x = torch.randn(size, 3, size + 1, 4)*size + torch.tensor([0., 5., -50.])[:, None, None]
            torch.testing.assert_close(ours(x), torchs(x), rtol=0, atol=1e-4)
        ours.training = False
        torch.testing.assert_close(ours(x), torchs.eval()(x), rtol=1e-5, atol=1e-4)
