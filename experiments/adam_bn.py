"""Iteration 2: what does batch normalisation add?

    mlflow run . -e adam_bn

The network of the baseline with a batch normalisation after each convolution; Adam, 20 epochs,
batches of 64. The study reports a test accuracy of 0.34 and a macro precision, recall and F1 of
0.36, 0.34 and 0.33. As on the baseline's page, 32 and 64 filters of 3x3, 128 dense units and a
learning rate of 0.001 are our choice, so that batch normalisation is all that differs.

Expected: at or above the study's 0.34.

Measured (seeds 0, 1 and 2, commit 242e15f): test accuracy 0.394, 0.398 and 0.396, on average
0.396 (95 % interval by Student's t 0.391 to 0.401), macro precision, recall and F1 0.424, 0.396
and 0.387; the best epoch by validation the 18th or 19th. On another processor (commit 84661c8)
seed 0 had 0.378 and seed 1 0.402. Validation swings from epoch to epoch, and so does what is
kept: by a moving average of the same weights (`-P set=training.average=0.995`), that
processor's seed 0 had 0.423.
"""

from cifar_track.config import Augmentation, Data, Experiment, Model, Optimizer, Training

EXPERIMENT = Experiment(
    name="adam_bn",
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
        batch_normalization=True,
    ),
    optimizer=Optimizer(name="adam", learning_rate=0.001),
    training=Training(epochs=20, batch_size=64, seed=0, deterministic=False, precision="auto"),
)
