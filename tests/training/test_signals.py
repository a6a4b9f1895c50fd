# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM: the step is finished, the run saved, and then it ends."""

import os
import signal
import subprocess
import sys
import threading

import pytest

import rosin as rs
from rosin.training.signals import WATCHED, Signals
from tests.training.callbacks.helpers import Told, train
from tests.training.toys import assert_same_bits, batches, loader, loss, net


@pytest.fixture(autouse=True)
def python_handlers():
    """Let Python's own handlers stand, whatever runs the tests."""
    own = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in own.items()}
    yield
    handlers = {number: signal.getsignal(number) for number in own}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert handlers == own


def sending(number, *, at=4, times=1):
    """Make a callback that sends this process a signal at a step."""

    def send(run):
        if run.step == at:
            for _ in range(times):
                os.kill(os.getpid(), number)

    return Told({"model"}, on_step_end=send)


def test_sigterm_finishes_the_step_and_returns():
    result = train(sending(signal.SIGTERM), epochs=2)
    assert result.stopped == "interrupted by SIGTERM"
    assert_same_bits(result.model, train(data=batches()[:4]).model)


def test_sigint_finishes_the_step_and_raises():
    with pytest.raises(KeyboardInterrupt) as caught:
        train(sending(signal.SIGINT), epochs=2)
    assert caught.value.result.stopped == "interrupted by SIGINT"
    assert_same_bits(caught.value.result.model, train(data=batches()[:4]).model)


def test_a_signal_during_the_last_epochs_end_is_not_lost():
    at_end = Told(on_epoch_end=lambda run: os.kill(os.getpid(), signal.SIGTERM))
    result = train(at_end)
    assert result.stopped == "interrupted by SIGTERM"
    assert len(result.history) == 1
    result = train(at_end, epochs=2)
    assert (result.stopped, len(result.history)) == ("interrupted by SIGTERM", 1)


def test_a_signal_is_told_of(capsys):
    train(sending(signal.SIGTERM), epochs=2, progress=True)
    said = capsys.readouterr().out
    assert said == "interrupted by SIGTERM; a second one acts at once\n"


def test_a_second_sigint_acts_at_once():
    with pytest.raises(KeyboardInterrupt) as caught:
        train(sending(signal.SIGINT, times=2), epochs=2)
    assert caught.value.__notes__ == ["in the callback Told, on_step_end"]
    assert caught.value.result.stopped == ""


@pytest.mark.parametrize("number", WATCHED)
@pytest.mark.parametrize("at", [1, 6, 7])
def test_a_run_that_was_interrupted_goes_on_bit_for_bit(tmp_path, number, at):
    def run(path=None, epochs=3, callbacks=()):
        model = net()
        return rs.train(
            loss,
            model,
            loader(),
            rs.setup(rs.Adam(0.05), model),
            epochs=epochs,
            callbacks=callbacks,
            checkpoint=path and rs.Checkpoint(path, resume=True),
            progress=False,
        )

    path = tmp_path / "run.safetensors"
    if number == signal.SIGINT:
        with pytest.raises(KeyboardInterrupt):
            run(path, callbacks=[sending(number, at=at)])
    else:
        run(path, callbacks=[sending(number, at=at)])
    resumed, whole = run(path), run()
    assert_same_bits(resumed[:2], whole[:2])
    assert resumed.history["loss"].tolist() == whole.history["loss"].tolist()


def test_handlers_of_your_own_stay_in_force():
    caught = []
    signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    try:
        assert train(sending(signal.SIGTERM)).stopped == ""
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert caught == [signal.SIGTERM]


def test_another_thread_leaves_signals_alone():
    seen = []

    def work():
        with Signals():
            seen.append([signal.getsignal(number) for number in WATCHED])
        seen.append(train().stopped)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[signal.default_int_handler, signal.SIG_DFL], ""]


def test_handlers_are_put_back_after_an_exception():
    def fail(run):
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="mistake"):
        train(Told(on_epoch_end=fail))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


PROGRAM = """
import sys
import rosin as rs
from tests.training.toys import loader, loss, net
model = net()
result = rs.train(
    loss, model, loader(), rs.setup(rs.Adam(0.05), model), epochs=10**9, checkpoint=sys.argv[1],
)
print("stopped:", result.stopped, flush=True)
sys.exit(42)
"""


def test_a_process_that_is_told_to_end_saves_and_leaves(tmp_path):
    path = tmp_path / "run.safetensors"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, path], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().startswith("epoch 1/")
        process.send_signal(signal.SIGTERM)
        lines = process.stdout.read().splitlines()
    assert process.returncode == 42
    assert "stopped: interrupted by SIGTERM" in lines
    assert "training" in rs.load_metadata(path)
