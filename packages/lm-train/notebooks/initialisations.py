# %% [markdown]
# # How should weights begin?
#
# A network that begins with too large numbers is confidently wrong, one with too small ones has no gradient to follow. lm-core has
# four recipes (the table is in `lm_core/init.py`): **fan_in** starts each block as the identity and the logits at zero, **gpt2**
# draws everything small, **truncated** scales by width and depth, **mup** is made so that learning rates carry over to wider models.
#
# Question: what can be seen *before the first step*, and how much of it is left after some hundred?

# %%
import math
import os

from lm_core import ModelConfig, Transformer
from lm_core.inspection import gradient_norms, stream_statistics
from lm_train import Batches, TokenDataset, TrainConfig, train
from lm_train.config import EvaluateConfig, ModelOptions, OptimConfig, SampleConfig, ScheduleConfig
from matplotlib import pyplot

SMALL = os.environ.get("NOTEBOOK_SIZE") == "small"  # the tests' size: the same claims in seconds
STEPS = 40 if SMALL else 300
INITS = ("fan_in", "gpt2", "truncated", "mup")
LAYERS, VOCABULARY = 4, 512

# %% [markdown]
# ## Four runs of four layers


# %%
def run(init):
    config = TrainConfig(
        data="stories:400kb",
        vocab_size=VOCABULARY,
        steps=STEPS,
        batch=8,
        optim=OptimConfig(lr=0.004, muon_lr=0.012),
        schedule=ScheduleConfig(decay=0.5),
        seed=0,
        device="cpu",
        threads=1,
        model=ModelOptions(context=64, d_model=48, n_layers=LAYERS, n_heads=4, d_ff=128, init=init),
        evaluate=EvaluateConfig(every=STEPS // 10, windows=32, final_windows=128),
        samples=SampleConfig(every=STEPS, tokens=20),
    )
    return train(config)


runs = {init: run(init) for init in INITS}

# %% [markdown]
# ## Before the first step
#
# The same four models as they are drawn, on the first batch: the loss, what each block adds to the stream, and the gradient
# of each block's matrices. A model that knows nothing should say so: its loss is ln 512 = 6.238 nats.

# %%
inputs, targets = Batches(TokenDataset("datasets/stories-400kb-512"), context=64, batch=8, seed=0).batch(0)
first_loss, stream, gradients = {}, {}, {}
for init in INITS:
    config = ModelConfig(
        vocab_size=VOCABULARY,
        context=64,
        d_model=48,
        n_layers=LAYERS,
        n_heads=4,
        d_ff=128,
        qk_norm=True,
        init=init,
    )
    model = Transformer(config, seed=0)
    stream[init] = stream_statistics(model, inputs)
    loss = model.loss(inputs, targets)
    loss.backward()
    first_loss[init] = loss.item()
    norms = gradient_norms(model)
    gradients[init] = [norms[f"blocks.{layer}.feed_forward.down.weight"] for layer in range(LAYERS)]

for init, result in runs.items():
    added = stream[init][0].feed_forward / stream[init][0].before
    print(
        f"{init:10} first loss {first_loss[init]:.3f}, block 0 adds {added:.2f} of the stream, "
        f"after {STEPS} steps {result.valid_bits_per_byte:.3f} bits per byte"
    )

# %%
figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for init in INITS:
    left.plot(
        range(LAYERS), [row.attention + row.feed_forward for row in stream[init]], marker="o", label=init
    )
    middle.plot(range(LAYERS), gradients[init], marker="o", label=init)
left.set(title="what a block adds at first", xlabel="block", ylabel="root mean square")
middle.set(title="gradient at first", xlabel="block", ylabel="root mean square")
middle.set_yscale("symlog", linthresh=1e-6)
for axes in (left, middle):
    axes.set_xticks(range(LAYERS))
right.bar(INITS, [runs[init].valid_bits_per_byte for init in INITS], color="#4269d0")
right.set(title=f"after {STEPS} steps", ylabel="bits per byte, held out")
left.legend(frameon=False)
figure.savefig("initialisations.svg")

# %% [markdown]
# ![Left: what each block adds at first. Middle: the gradient of its last matrix. Right: the loss after the steps](initialisations.svg)
#
# ## What was found
#
# 300 steps of 512 tokens, one seed, lm-train's usual rates (Muon).
#
# | | first loss (ln 512 = 6.238) | stream at first, then what block 0 adds | gradient in a block at first | after 300 steps |
# |---|---|---|---|---|
# | fan_in | 6.238 | 0.50, adds 0.00 | exactly 0 | 0.439 |
# | gpt2 | 6.253 | 0.02, adds 0.003 | 0.0006 | **0.365** |
# | truncated | **6.787** | 0.14, adds 0.65 | 0.010 to 0.006 | 0.584 |
# | mup | 6.250 | 0.50, adds 0.13 | 0.0007 | 0.456 |
#
# - **Three of four begin by knowing nothing**: their first loss is ln 512. *truncated* is half a nat above, for its first block alone adds four times
#   what the stream held.
# - **fan_in has no gradient in its blocks at step 0**: the head is zero, so nothing comes back through it. One step of the head later it has.
#   That costs a step and no more.
# - **The smallest start learns fastest here.** At the same rate a step changes a weight of 0.02 by more, in proportion, than one of 0.5. So this is as
#   much about the rate as about the start: the notebook on optimizers finds that this short run wants larger rates than the usual
#   ones. Compare starts only with a rate tuned for each.

# %%
after = {init: result.valid_bits_per_byte for init, result in runs.items()}
for init in ("fan_in", "gpt2", "mup"):
    assert abs(first_loss[init] - math.log(VOCABULARY)) < 0.03
assert first_loss["truncated"] > math.log(VOCABULARY) + 0.3
assert stream["truncated"][0].feed_forward > 2 * stream["truncated"][0].before
assert all(row.attention == row.feed_forward == 0 for row in stream["fan_in"])
assert not any(gradients["fan_in"])
assert min(gradients["truncated"]) > 4 * max(gradients["gpt2"]) > 0
assert after["gpt2"] < 0.97 * min(after["fan_in"], after["mup"])
assert after["truncated"] > 1.01 * max(after["fan_in"], after["mup"])
