"""The training loop: one step after another, with an evaluation, a sample or a checkpoint when one is due.

    for each step:   lr(step) -> batch(step) -> loss -> gradient -> clip -> update -> a row of metrics
    now and then:    score held-out text, write a sample, commit a checkpoint
    at the end:      score more of it, write samples, commit

What a step computes depends on the weights, the optimizer's state, `batch(step)` and the schedule: each of them is in a checkpoint or
is a pure function of the step. So a run that was stopped and resumed is, bit for bit, the one that was not.
run.py puts a run together and ends it; step.py has the inside of a step.
"""

from __future__ import annotations

import time
from pathlib import Path

from lm_train.batches import ValidationWindows
from lm_train.checkpoint import checkpoints, save_checkpoint
from lm_train.due import Due
from lm_train.evaluate import Evaluation, evaluate
from lm_train.layer_rms import layer_rms
from lm_train.mixed_scores import score_mixed
from lm_train.overfitting import OverfitWarning
from lm_train.parallel.ranks import Order
from lm_train.parallel.sharding import gather
from lm_train.run_errors import NotFiniteError
from lm_train.samples import sample
from lm_train.session import Session
from lm_train.signals import Stop
from lm_train.step import StepResult, run_step
from lm_train.view.display import Display

_ASIDE_SHARE = 0.1  # of the training time, for evaluations and samples on the way


class Loop:
    """One run's steps, and what happens between them."""

    def __init__(self, session: Session, display: Display, stop: Stop) -> None:
        self.s, self.display, self.stop = session, display, stop
        c = session.config
        self.evaluation_due = Due(c.evaluate.every, times=10, progress=session.progress)
        self.sample_due = Due(c.samples.every, times=20, progress=session.progress)
        self.checkpoint_due = Due(c.checkpoint.every, minutes=c.checkpoint.minutes)
        self.windows = session.windows(c.evaluate.windows)
        self.held_out: Evaluation | None = None
        self.on_curve: Evaluation | None = None  # the last one on the way, always on the same text
        self.samples: tuple[tuple[str, str], ...] = ()
        self.overfit = OverfitWarning()
        self.aside = 0.0  # seconds in evaluations and samples

    def learn(self) -> None:
        """Step until the budget is spent or a stop is asked for."""
        s, state = self.s, self.s.state
        self._between_steps()  # what a stop cut short
        while not self.stop.requested and not self._at_the_end():
            self._record(self._step())
            if state.step != state.total_steps:  # the end has its own
                state.evaluation_due |= self.evaluation_due(state.step, s.progress)
                state.sample_due |= self.sample_due(state.step, s.progress)
            self._between_steps()

    def _between_steps(self) -> None:
        """The evaluation, sample and checkpoint that are due; what is not done now (a stop; too dear so far) stays due."""
        s, state, started = self.s, self.s.state, time.perf_counter()
        s.settle(wait=False)
        if state.evaluation_due and self._affordable(s.config.evaluate.every):
            self.evaluate(self.windows)
        if state.sample_due and self._affordable(s.config.samples.every):
            state.sample_due = not self.write_samples(s.prompts[:1])
        self.aside += time.perf_counter() - started
        if not self.stop.requested and self.checkpoint_due(state.step, s.progress):
            self.save()

    def _affordable(self, every: int | None) -> bool:
        """Whether to do it now: always where its steps were chosen, else while all of it takes a tenth of the training time."""
        return every is not None or self.aside <= _ASIDE_SHARE * self.s.state.seconds

    def finish(self) -> None:
        """The closing evaluation and samples; nothing where a stop was asked for. A run that ends here without its end does them again."""
        closing = self.s.windows(self.s.closing_windows)
        self.evaluate(self.windows)  # the last point of the curve: the same text as on the way
        if closing and self.windows and closing.windows != self.windows.windows:
            self.evaluate(closing)
        score_mixed(self.s, self.stop)
        self.write_samples(self.s.prompts)

    def _at_the_end(self) -> bool:
        """Whether all steps are done; makes the plan when its time has come."""
        state = self.s.state
        if self.s.plan():
            self.save()  # a run killed from here on still ends its decay at the same step
        return state.total_steps is not None and state.step >= state.total_steps

    def _step(self) -> StepResult:
        s, step = self.s, self.s.state.step
        started = time.perf_counter()
        factor = s.budget.factor(step, s.state.total_steps)
        with s.ranks.order(Order.STEP, step, factor), s.profiled(), s.ranges("step"):
            result = run_step(s, step, factor)
        s.timed(time.perf_counter() - started)
        return result

    def _record(self, result: StepResult) -> None:
        s, state = self.s, self.s.state
        tokens = s.batches.tokens(state.step)
        state.step, state.tokens = state.step + 1, state.tokens + tokens
        if result.updated:
            state.learnt(result.loss)
        else:
            self._skip(result)
        s.log(
            loss=result.loss if result.updated else None,
            grad_norm=result.grad_norm if result.updated else None,
            **s.optimizers.row(),
            tokens_per_second=round(tokens / s.recent[-1], 1),
            **(s.exchange.figures.row() if s.exchange else {}),
        )
        if s.exchange and s.exchange.figures.stop_asked:
            self.stop.requested = self.stop.requested or "a signal to another rank"
        self.display.training(s.status(self.held_out))

    def _skip(self, result: StepResult) -> None:
        s, state = self.s, self.s.state
        s.skipped(result.loss, result.grad_norm)
        if result.overflowed:  # a matter of the scale, not of the batch
            s.run.log(f"step {state.step}: gradients overflowed float16: skipped, loss scale halved")
            return
        state.skipped_in_a_row += 1
        s.say(
            self.display,
            f"step {state.step}: loss {result.loss}, gradient norm {result.grad_norm}: update skipped; its batch begins at {s.batches.where(state.step - 1)}",
        )
        if state.skipped_in_a_row >= s.config.optim.max_bad_steps:
            raise NotFiniteError.after(state.skipped_in_a_row, state.last_good_step)

    def evaluate(self, windows: ValidationWindows | None) -> bool:
        """Score held-out text and log it; False where a stop was asked for before it was done."""
        s = self.s
        if windows is None:
            return True
        on_the_way = windows is self.windows
        with s.ranks.order(Order.EVALUATE, windows.windows), s.optimizers.resting(), s.ranges("evaluate"):
            found = evaluate(s.model, windows, s.device, stopped=self.stop.asked, ranks=s.ranks)
            layers = layer_rms(s, windows) if found and on_the_way else {}
        if found is not None:
            self.held_out = found
            s.log(**found.row(), **layers)
        if found is not None and on_the_way:
            self.on_curve, s.state.evaluation_due = found, False
            if s.state.lowest(found.loss) and s.config.checkpoint.best:
                self.save()
            if warning := self.overfit.line(s.state, found):
                s.say(self.display, warning)
        return found is not None

    def write_samples(self, prompts: tuple[str, ...]) -> bool:
        """Let the model continue each prompt; into samples.jsonl and onto the screen. False where a stop was asked for."""
        s, c, written = self.s, self.s.config, []
        for prompt in prompts:
            if self.stop.requested:
                return False
            with s.ranks.patience(), s.optimizers.resting(), s.ranges("sample"):
                text = sample(s.model, s.tokenizer, prompt, c.samples, seed=c.seed, ranks=s.ranks)
            written.append((prompt, text))
            s.log_sample(prompt, text)
            self.display.sample(s.state.step, prompt, text)
        self.samples = tuple(written)
        return True

    def save(self) -> Path:
        """Commit a checkpoint and prune older ones; not while losses are not finite. Raises lm_core's DiskFullError: older ones are then intact."""
        s, kept = self.s, self.s.config.checkpoint
        self.checkpoint_due.done()
        if s.state.skipped_in_a_row and (older := checkpoints(s.run.checkpoints)):
            return older[-1]
        s.note_rows()
        with s.ranks.order(Order.SAVE):
            gathered = gather(s.model, s.optimizers, s.ranks)
        with s.ranks.patience(), s.ranges("save"):
            return save_checkpoint(
                s.run.checkpoints,
                s.model,
                s.tokenizer,
                s.optimizers,
                s.state,
                seed=s.config.seed,
                keep=kept.keep,
                best=s.state.lowest_step if kept.best else None,
                facts=s.facts(),
                world_size=s.ranks.world,
                background=s.background,
                gathered=gathered,
                committed=s.committed,
            )
