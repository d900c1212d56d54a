"""Train cart-pole policies and ship them as ONNX files that run in a web page.

Start reading at `training/trainer.py`. Shapes in signatures use these letters:

    S  seeds trained as one computation      B  rows of a batch
    T  time steps                            O  observation size
    N  environments of one seed              A  actions, or action dimensions
    G  episodes of one group                 P  parameters of one seed
"""
