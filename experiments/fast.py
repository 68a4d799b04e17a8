"""How much can be learnt in the time of one of the study's trials?

    mlflow run . -e train -P experiment=fast

Expected: 0.70 of the test images, over three seeds.
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
    name="fast",
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
)
