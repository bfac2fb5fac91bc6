"""The recurrent networks of SVG (Denton & Fergus 2018): LSTMs between two linear layers.

Shapes: T steps, B sequences. A state is the pair (h, c) of all L layers, (L, B, R) each; it is an
argument and a result, never kept in a module, or it would leak from batch to batch.
Everything here is in float32, also under autocast: it costs little, and errors would add up over
the steps and in the exponential of a log variance.
"""

import torch
from torch import Tensor, nn

State = tuple[Tensor, Tensor]


class Recurrent(nn.Module):
    """Linear, then `layers` LSTMs of `rnn_size`: (T, B, in) and a state → (T, B, R), state."""

    def __init__(self, in_size: int, rnn_size: int, layers: int):
        super().__init__()
        self.embed = nn.Linear(in_size, rnn_size)
        self.lstm = nn.LSTM(rnn_size, rnn_size, layers)

    def initial_state(self, batch: int) -> State:
        """Return zeros for so many sequences, on the device of the weights."""
        shape = (self.lstm.num_layers, batch, self.lstm.hidden_size)
        return (self.embed.weight.new_zeros(shape), self.embed.weight.new_zeros(shape))

    def compile(self, *args, **kwargs) -> None:
        """Stay eager: the LSTM is one library call, at which a compiled graph would break."""

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return self.lstm(self.embed(inputs.float()), state)


class FramePredictor(Recurrent):
    """The features of the next frame: (T, B, in) → (T, B, out) in (-1, 1), as the encoder's are."""

    def __init__(self, in_size: int, rnn_size: int, layers: int, out_size: int):
        super().__init__(in_size, rnn_size, layers)
        self.head = nn.Linear(rnn_size, out_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        with torch.autocast(inputs.device.type, enabled=False):
            hidden, state = super().forward(inputs, state)
            return torch.tanh(self.head(hidden)), state


class GaussianLSTM(Recurrent):
    """A diagonal Gaussian for every step: (T, B, in) → mu, logvar (T, B, Z) each, and the state."""

    def __init__(self, in_size: int, rnn_size: int, layers: int, z_dim: int):
        super().__init__(in_size, rnn_size, layers)
        self.mu = nn.Linear(rnn_size, z_dim)
        self.logvar = nn.Linear(rnn_size, z_dim)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        with torch.autocast(inputs.device.type, enabled=False):
            hidden, state = super().forward(inputs, state)
            return self.mu(hidden), self.logvar(hidden), state
