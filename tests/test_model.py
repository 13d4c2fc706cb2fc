"""The model's grid: which maps flow into which of smp's blocks is what the paper's rule says, one level lower."""
import torch

from covid_nbdev.model import build_model
from covid_nbdev.unet import node_inputs


def place(name):
    "(row, column) of a map of smp's in the paper's grid, if the encoder's level 1 were row 0."
    d, l = map(int, name.split("_")[1:])
    return 3 - l, l - d + 1


def links_of(model) -> dict:
    "For each decoder block, by the numbers that flow: the nodes whose maps it takes, the raised one first."
    pyramid, links = model.encoder(torch.randn(1, 1, 64, 64)), {}
    known = {(level - 1, 0): f for level, f in enumerate(pyramid) if level}
    def first_in(maps): return next(node for node, k in known.items() if torch.equal(k, maps[:, :k.shape[1]]))
    def seen(name):
        def hook(block, maps, out):
            taken, rest = [first_in(maps[0])], maps[1] if len(maps) > 1 else out[:, :0]
            while rest.shape[1]:                          # cut the concatenated maps apart again
                taken.append(first_in(rest))
                rest = rest[:, known[taken[-1]].shape[1]:]
            links[place(name)], known[place(name)] = taken, out
        return hook
    for name, block in model.decoder.blocks.items(): block.register_forward_hook(seen(name))
    model.decoder(pyramid)
    return links


def test_smp_s_grid_is_the_paper_s_one_level_lower():
    torch.manual_seed(0)
    with torch.no_grad(): links = links_of(build_model("efficientnet-b0").eval())
    assert links.pop((-1, 5)) == [(0, 4)]                 # the last block: full resolution, nothing beside it
    assert len(links) == 10
    for node, taken in links.items():
        assert sorted(taken) == sorted(node_inputs(*node)) and taken[0] == node_inputs(*node)[-1], node
