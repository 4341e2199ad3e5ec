"""Train a tiny model, stop it half-way, resume it, and see that it is the run that was never stopped.

python train_and_resume.py          # some seconds on two cores
"""

import tempfile
from pathlib import Path

from lm_train import TrainConfig, resume, train
from lm_train.config import ModelOptions, SampleConfig
from lm_train.signals import Stop
from lm_train.view.display import Silent, Status


class StopAt(Silent):
    """A display that asks for a stop at a step: what Ctrl-C does on the command line."""

    def __init__(self, step: int) -> None:
        self.step, self.stop = step, Stop()

    def training(self, status: Status) -> None:
        if status.step == self.step:
            self.stop.requested = "an example"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            data="stories:200kb",
            vocab_size=512,
            steps=60,
            out=f"{folder}/runs",
            datasets=f"{folder}/datasets",
            name="whole",
            model=ModelOptions(context=64, d_model=64, n_layers=2, n_heads=2, d_ff=192),
            samples=SampleConfig(tokens=40),
        )
        whole = train(config)
        print(f"unbroken: {whole.step} steps, {whole.valid_bits_per_byte:.4f} bits per byte on held-out text")

        watch = StopAt(30)
        half = train(TrainConfig(**{**vars(config), "name": "stopped"}), display=watch, stop=watch.stop)
        print(f"stopped at step {half.step}, saved in {half.checkpoint.name}")

        done = resume(half.folder, config)
        print(f"resumed:  {done.step} steps, {done.valid_bits_per_byte:.4f} bits per byte")

        weights = [Path(run.checkpoint, "model.safetensors").read_bytes() for run in (whole, done)]
        assert weights[0] == weights[1]
        print("the two models are the same, byte for byte")
        print(f"\nit writes: {done.samples[0][0]}{done.samples[0][1]}")


if __name__ == "__main__":
    main()
