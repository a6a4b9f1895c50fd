# SPDX-License-Identifier: Apache-2.0
"""A callback made of functions, and a run to tell it of."""

import rosin as rs
from tests.training.toys import batches, loss, net


class Told(rs.Callback):
    """Calls a function for each event it is given one for."""

    def __init__(self, reads=(), changes=(), **events):
        self.reads, self.changes = reads, changes
        for event, function in events.items():
            setattr(self, event, function)


def train(*callbacks, data=None, rule=None, model=None, **options):
    """Train the toy model on its six batches."""
    model = net() if model is None else model
    return rs.train(
        loss,
        model,
        batches() if data is None else data,
        rs.setup(rs.Descent(0.05) if rule is None else rule, model),
        callbacks=list(callbacks),
        **{"progress": False, **options},
    )


def scored(scores, *callbacks, **options):
    """Train for as many epochs as there are scores, which stand in the column `score`."""

    def score(run):
        run._moment.rows[-1]["score"] = float(scores[run.epoch - 1])

    return train(Told(on_epoch_end=score), *callbacks, epochs=len(scores), **options)
