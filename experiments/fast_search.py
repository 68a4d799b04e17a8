"""Which learning rate, batch, width and first resolution make `fast`?

    mlflow run . -e train -P experiment=fast_search

Not the study's. The page `fast` with five of its settings drawn at random, ten times, each for 3
epochs with the whole schedule in them; the best is fitted anew for the 10 of `fast`. The parent run
is the lab book: its table of trials has the processor seconds beside the accuracy, for what is
sought is the most in the least. A wider network, or larger images from the first epoch on, does
better in as many epochs, and takes longer.

Expected: the settings of `fast` among the best of those that take no longer.

Measured (seed 0, commit e2239a5): trials 0 to 9 reached 0.534, 0.558, 0.506, 0.560, 0.590, 0.482,
0.496, 0.501, 0.613 and 0.546 by validation, in 131, 146, 161, 176, 195, 81, 104, 125, 211 and 150
CPU seconds on one thread of an Intel Xeon. In 3 epochs whole images from the first on are worth
most, and cost most: the best (a learning rate of 0.18, batches of 500, 32 pixels, 192 filters
twice) began with them. Fitted anew for 10 epochs it has a test accuracy of 0.706 (95 % interval
0.697 to 0.715), macro precision, recall and F1 0.706, 0.706 and 0.705, in 664 seconds, where `fast`
has 0.721 in 759 to 937: over a whole schedule its wider layers and its lower rate bring more, on
images that are small at first.
"""

from cifar_track.config import (
    Augmentation,
    Choice,
    Data,
    Experiment,
    FloatRange,
    IntRange,
    Model,
    Optimizer,
    Prediction,
    Schedule,
    Search,
    Training,
)

EXPERIMENT = Experiment(
    name="fast_search",
    data=Data(dataset="cifar100"),
    augmentation=Augmentation(alternating_flip=True, crop=2),
    model=Model(
        "whitened",
        filters_1=64,
        filters_2=256,
        filters_3=256,
        convolutions_1=2,
        convolutions_2=2,
        convolutions_3=3,
        activation="silu",
        head_scale=0.125,
    ),
    optimizer=Optimizer(
        name="muon", learning_rate=0.12, momentum=0.6, nesterov=True, adam_factor=0.08
    ),
    schedule=Schedule(shape="linear", warm_up=0.2),
    training=Training(
        epochs=10, batch_size=500, label_smoothing=0.2, first_side=20, full_side_from=0.8
    ),
    prediction=Prediction(views=2),
    search=Search(
        tuner="random",
        trials=10,
        objective="val_accuracy",
        trial_epochs=3,
        refit="anew",
        space={
            "optimizer.learning_rate": FloatRange(low=0.06, high=0.24, step=0.06),
            "training.batch_size": Choice((250, 500, 1000)),
            "training.first_side": Choice((16, 20, 24, 32)),
            "model.filters_2": IntRange(low=128, high=256, step=64),
            "model.filters_3": IntRange(low=128, high=256, step=64),
        },
    ),
)
