"""On a real GPU: each precision it supports trains, and goes on exactly as far as it can; two GPUs where there are two."""
import pytest
import torch

from covid_nbdev.devices import check_gpu, choose_precision
from covid_nbdev.run import train_run, train_parallel, load_model
from covid_nbdev.train import TrainConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
SMALL = dict(epochs=2, batch_size=4, size=64, encoder="efficientnet-b0", patience=9)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_precisions(store, tmp_path, precision):
    device = check_gpu("cuda")
    if precision == "bf16" and torch.cuda.get_device_capability(device) < (8, 0): pytest.skip("this GPU has no bf16")
    config = TrainConfig(precision=precision, **SMALL)
    def stop(row, c): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): train_run(store, tmp_path/"run", config, device=device, progress=False, on_epoch=stop)
    state = torch.load(tmp_path/"run"/"last.pt", weights_only=True)
    assert bool(state["scaler"]) == (precision == "fp16") and len(state["random"][0]) == 2
    history = train_run(store, tmp_path/"run", config, resume=True, device=device, progress=False, on_epoch=None)
    assert len(history) == 2 and history["train_loss"].iloc[1] < history["train_loss"].iloc[0]
    net, _ = load_model(tmp_path/"run", device)
    assert next(net.parameters()).dtype == torch.float32
    assert choose_precision("auto", torch.cuda.get_device_capability(device)) in ("fp32", "fp16", "bf16")


def test_all_gpus(store, tmp_path):
    if torch.cuda.device_count() < 2: pytest.skip("one GPU alone")
    history = train_parallel(store, tmp_path/"run", TrainConfig(**SMALL), progress=False, on_epoch=None)
    assert len(history) == 2
