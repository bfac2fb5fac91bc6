"""The networks and the two models, and nothing else: no settings, no data, no files.

Imports run one way: layers, gaussian ← modules (the five networks) ← vae.
"""

from modules.modules import (
    Decoder_Fusion,
    Gaussian_Predictor,
    Generator,
    Label_Encoder,
    RGB_Encoder,
)

__all__ = ["Decoder_Fusion", "Gaussian_Predictor", "Generator", "Label_Encoder", "RGB_Encoder"]
