"""How far does the time of the study's whole search lead?

    mlflow run . -e train -P experiment=strong

Expected: 0.77 of the test images.
"""

from cifar_track.config import (
    Augmentation,
    Data,
    Experiment,
    Model,
    Optimizer,
    Prediction,
    Schedule,
    Training,
)

EXPERIMENT = Experiment(
    name="strong",
    data=Data(dataset="cifar100"),
    augmentation=Augmentation(alternating_flip=True, crop=3),
    model=Model(
        "whitened",
        filters_1=64,
        filters_2=320,
        filters_3=384,
        convolutions_1=3,
        convolutions_2=3,
        convolutions_3=3,
        activation="silu",
        head_scale=0.125,
    ),
    optimizer=Optimizer(
        name="muon", learning_rate=0.1, momentum=0.6, nesterov=True, adam_factor=0.1
    ),
    schedule=Schedule(shape="linear", warm_up=0.2),
    training=Training(
        epochs=16, batch_size=500, label_smoothing=0.2, first_side=20, full_side_from=0.8
    ),
    prediction=Prediction(views=2),
)
