"""Iteration 4: what does a ResNet50 trained on ImageNet bring along?

    mlflow run . -e resnet50

ResNet50 without its top, global average pooling, a dense softmax over the 100 classes; Adam, 10
epochs, all layers trained. The study gives no figure. It fed 32x32 images divided by 255
(`-P preprocessing=study` does the same). The published weights were trained on BGR images less
the channel means of ImageNet, and a network whose first batch normalisation expects that sees
nearly black images in the study's scaling; so `caffe` preprocessing is the default here. They
were trained on 224x224 too, which costs 49 times the arithmetic of 32x32: the size stays the
study's, and `-P image_size=64` (or more) enlarges the images inside the model. A batch size of
64 and a learning rate of 0.001 are Keras's default and our choice. `-P weights=none` starts from
random weights, `-P weights=PATH` from a file.

Expected: with ImageNet weights above the tuned network; from random weights, below it.

Measured (one seed, commit 145afba): from random weights, test accuracy 0.225 (95 % interval 0.217
to 0.233), the last epoch the best; with ImageNet weights, not here, for want of the file.
"""

from cifar_track.config import Augmentation, Data, Experiment, Model, Optimizer, Training

EXPERIMENT = Experiment(
    name="resnet50",
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
    model=Model("resnet50", weights="imagenet", preprocessing="caffe", image_size=32),
    optimizer=Optimizer(name="adam", learning_rate=0.001),
    training=Training(epochs=10, batch_size=64, seed=0, deterministic=False, precision="auto"),
)
