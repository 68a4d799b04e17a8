"""Iteration 1: how far does a plain convolutional network get?

    mlflow run . -e baseline

Two convolutions with max pooling and one dense layer; no batch normalisation, no dropout. The
study names Adam, 20 epochs, batches of 64 and the augmentation below, and reports a test accuracy
of 0.18. It gives neither the filters nor the dense units nor Adam's learning rate: 32 and 64
filters of 3x3, 128 units and 0.001 (Keras's default) are our choice.

Expected: at or above the study's 0.18.

Measured (seeds 0, 1 and 2, commit 242e15f): test accuracy 0.364, 0.367 and 0.366, on average
0.366 (95 % interval by Student's t 0.361 to 0.370), the best epoch by validation the 19th or
20th. That is twice the study's figure with the layers that it names; its baseline may have had
other sizes or another learning rate. Another processor's seed 0 (commit 84661c8) had 0.356.
"""

from cifar_track.config import Augmentation, Data, Experiment, Model, Optimizer, Training

EXPERIMENT = Experiment(
    name="baseline",
    data=Data(
        dataset="cifar100",
        train_per_class=450,
        validation_per_class=50,
        test_per_class=100,
        selection="validation",
        split_seed=0,
    ),
    augmentation=Augmentation(
        rotation=20.0, width_shift=0.2, height_shift=0.2, zoom=0.2, horizontal_flip=True
    ),
    model=Model(
        "cnn",
        filters_1=32,
        kernel_1=3,
        dropout_1=0.0,
        filters_2=64,
        kernel_2=3,
        dropout_2=0.0,
        dense_units=128,
        batch_normalization=False,
    ),
    optimizer=Optimizer(name="adam", learning_rate=0.001),
    training=Training(epochs=20, batch_size=64, seed=0, deterministic=False, precision="auto"),
)
