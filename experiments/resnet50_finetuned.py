"""What does ResNet50 bring along when it is fine-tuned as is usual: the head first, then all of it?

    mlflow run . -e train -P experiment=resnet50_finetuned

Weights from ImageNet and images of 96x96, nearer to the 224x224 that they were trained on; the
softmax alone for two epochs, so that its first random gradients spoil nothing, then everything at
a tenth of the learning rate (https://keras.io/guides/transfer_learning). `-P
set=model.trainable=last_stage` leaves all but the last stage as it came, `-P image_size=160` costs
2.8 times the arithmetic, `-P weights=PATH` takes a file that Keras's ResNet50 saved.

Expected: far above `resnet50`, which trains everything from the first step on images of 32x32.

Measured: not here, for want of the weights.
"""

from cifar_track.config import (
    Augmentation,
    Data,
    Experiment,
    Model,
    Optimizer,
    Schedule,
    Training,
)

EXPERIMENT = Experiment(
    name="resnet50_finetuned",
    data=Data(dataset="cifar100"),
    augmentation=Augmentation(horizontal_flip=True, crop=4),
    model=Model(
        "resnet50", weights="imagenet", preprocessing="caffe", image_size=96, trainable="all"
    ),
    optimizer=Optimizer(name="adam", learning_rate=0.0001),
    schedule=Schedule(shape="cosine"),
    training=Training(epochs=10, head_epochs=2, head_learning_rate=0.001),
)
