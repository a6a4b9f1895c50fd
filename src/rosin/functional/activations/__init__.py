# SPDX-License-Identifier: Apache-2.0
"""The elementwise functions between layers.

Each keeps its tails: a derivative comes from `exp(-|x|)`, never from `1 - y**2` or
`y * (1 - y)`, which are exactly 0 long before the true derivative is. The half types are
computed in float32 and rounded once, the gradient too. All have derivatives of every
order, take real floating-point numbers only, have their limits at infinity, and pass NaN
on. How exact they are is measured by `make numerics`.
"""

from rosin.functional.activations.bounded import hardsigmoid as hardsigmoid
from rosin.functional.activations.bounded import hardtanh as hardtanh
from rosin.functional.activations.bounded import sigmoid as sigmoid
from rosin.functional.activations.bounded import sigmoid_fast as sigmoid_fast
from rosin.functional.activations.bounded import softsign as softsign
from rosin.functional.activations.bounded import sparse_sigmoid as sparse_sigmoid
from rosin.functional.activations.bounded import tanh as tanh
from rosin.functional.activations.bounded import tanh_fast as tanh_fast
from rosin.functional.activations.gated import hardswish as hardswish
from rosin.functional.activations.gated import lisht as lisht
from rosin.functional.activations.gated import mish as mish
from rosin.functional.activations.gated import silu as silu
from rosin.functional.activations.gated import swish as swish
from rosin.functional.activations.gelus import gelu as gelu
from rosin.functional.activations.gelus import gelu_erf as gelu_erf
from rosin.functional.activations.gelus import gelu_sigmoid as gelu_sigmoid
from rosin.functional.activations.gelus import gelu_tanh as gelu_tanh
from rosin.functional.activations.rectifiers import celu as celu
from rosin.functional.activations.rectifiers import elu as elu
from rosin.functional.activations.rectifiers import identity as identity
from rosin.functional.activations.rectifiers import leakyrelu as leakyrelu
from rosin.functional.activations.rectifiers import relu as relu
from rosin.functional.activations.rectifiers import relu6 as relu6
from rosin.functional.activations.rectifiers import rrelu as rrelu
from rosin.functional.activations.rectifiers import selu as selu
from rosin.functional.activations.rectifiers import trelu as trelu
from rosin.functional.activations.shrinking import hardshrink as hardshrink
from rosin.functional.activations.shrinking import softshrink as softshrink
from rosin.functional.activations.shrinking import tanhshrink as tanhshrink
from rosin.functional.activations.smooth import logcosh as logcosh
from rosin.functional.activations.smooth import logsigmoid as logsigmoid
from rosin.functional.activations.smooth import softplus as softplus
from rosin.functional.activations.smooth import sparse_plus as sparse_plus
from rosin.functional.activations.smooth import squareplus as squareplus
