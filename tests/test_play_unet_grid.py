"""The figure of U-Net and U-Net++ in a real browser: it says what the networks do."""
import re

import numpy as np
import pytest

from covid_nbdev.play import playable
from covid_nbdev.unet import UNet, UNetPlusPlus, node_inputs
from test_play import page_of


@pytest.fixture
def page(page_of):
    start = dict(network="U-Net", size=128, width=16, depth=3, node=[0, 3], classes=4)
    return page_of(playable("unet_grid", start, np.zeros((20, 30, 3)), "A grid of maps.", "Choose a node."), width=390)


def said(page): return page.evaluate("window.said")
def count(module): return sum(p.numel() for p in module.parameters())


def test_nodes_tell_inputs_channels_and_weights(page):
    assert said(page)["inputs"] == [[0, 0], [1, 2]] and said(page)["taken"] == 48
    assert said(page)["weights"] == count(UNet()) and said(page)["nodes"] == 7
    page.get_by_label("U-Net++", exact=True).check()
    network = UNetPlusPlus()
    assert said(page)["weights"] == count(network) and said(page)["nodes"] == 10
    for i, j in network.nodes():
        page.get_by_role("button", name=re.compile(rf"X\({i}, {j}\)")).click()
        assert said(page)["inputs"] == [list(node) for node in node_inputs(i, j)]
        assert said(page)["taken"] == network.blocks[f"{i},{j}"][0].in_channels
        assert f"X({i}, {j})" in page.get_by_role("status").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_keys_sliders_and_refusal(page):
    page.get_by_role("button", name=re.compile(r"X\(0, 3\)")).focus()
    page.keyboard.press("ArrowLeft")
    assert said(page)["node"] == [0, 0] and "0, 0" in page.evaluate("document.activeElement.textContent")
    page.get_by_label("Depth").fill("2")
    page.get_by_label("Channels of the first row").fill("8")
    assert said(page)["weights"] == count(UNet(width=8, depth=2))
    page.get_by_label("Side of the slice").fill("124")
    assert not said(page)["refused"]
    page.get_by_label("Depth").fill("3")
    assert said(page)["refused"] and "divisible by 8" in page.get_by_role("status").inner_text()
