"""The settings of a fit: what becomes of its images, what moves its weights, how long it takes."""

from __future__ import annotations

from dataclasses import dataclass

from cifar_track.config.checks import CifarTrackError, require, require_choice
from cifar_track.config.section import Section

PRECISIONS = ("auto", "float32", "bfloat16")
OPTIMIZERS = ("adam", "sgd", "muon")
SCHEDULES = ("constant", "linear", "cosine", "one_cycle")
VIEWS = (1, 2, 6)
MOST_EPOCHS = 1_000_000
# Of single precision, in which the averages are kept, more is soon 1.
MOST_MOMENTUM = 0.99999


@dataclass(frozen=True, kw_only=True)
class Augmentation(Section):
    """The random changes to a training image, in the order in which they are made; none are on.

    Attributes:
        rotation: degrees either way. Rotation, shifts and zoom are those of Keras's
            `ImageDataGenerator`; pixels from outside take the nearest edge's colour.
        width_shift: fraction of the side either way.
        height_shift: the same.
        zoom: fraction either way, drawn for each axis apart.
        horizontal_flip: mirrored with a probability of one half.
        alternating_flip: mirrored in every other epoch, the first by chance: whoever sees an
            image twice sees both its sides (Jordan 2024).
        crop: pixels of reflected border on each side, out of which the image is cropped anew.
        trivial: one transform of TrivialAugment (Müller and Hutter 2021), of random strength.
        cutout: side in pixels of a square that is made grey (DeVries and Taylor 2017).
        mixup: alpha of the Beta distribution by which two images and their labels are mixed
            (Zhang and others 2017); 0 is none.
        cutmix: alpha of the Beta distribution of the area that a piece of another image takes,
            and its label with it (Yun and others 2019). With both, each batch has one of them.
    """

    rotation: float = 0.0
    width_shift: float = 0.0
    height_shift: float = 0.0
    zoom: float = 0.0
    horizontal_flip: bool = False
    alternating_flip: bool = False
    crop: int = 0
    trivial: bool = False
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require("augmentation.rotation", self.rotation, at_least=0, at_most=180)
        for name in ("width_shift", "height_shift"):
            require(f"augmentation.{name}", getattr(self, name), at_least=0, at_most=1)
        require("augmentation.zoom", self.zoom, at_least=0, below=1)
        require("augmentation.crop", self.crop, at_least=0, at_most=31)
        require("augmentation.cutout", self.cutout, at_least=0, at_most=32)
        for name in ("mixup", "cutmix"):
            require(f"augmentation.{name}", getattr(self, name), at_least=0, at_most=100)
        if self.horizontal_flip and self.alternating_flip:
            raise CifarTrackError(
                "augmentation.horizontal_flip and augmentation.alternating_flip are both on; "
                "expected one, since a flip by chance undoes the alternation"
            )

    @property
    def mixes_labels(self) -> bool:
        """Whether a training image belongs to more than one class."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True, kw_only=True)
class Optimizer(Section):
    """What moves the weights along their gradients.

    Attributes:
        name: `adam`, `sgd`, or `muon`, which moves the matrices and filters inside the network by
            orthogonal steps (Jordan 2024) and everything else by Adam.
        learning_rate: the highest of the schedule.
        momentum: of SGD and Muon.
        nesterov: whether that momentum looks ahead.
        weight_decay: the part of each weight, times the learning rate, that a step takes away,
            decoupled from the gradient (Loshchilov and Hutter 2017); biases and normalisation
            are exempt.
        clip_norm: the norm to which longer gradients, all weights' together, are cut; 0 is none.
        adam_factor: how many times Muon's learning rate has what it leaves to Adam.
    """

    name: str = "adam"
    learning_rate: float = 0.001
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    adam_factor: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("optimizer.name", self.name, OPTIMIZERS)
        require("optimizer.learning_rate", self.learning_rate, above=0)
        require("optimizer.momentum", self.momentum, at_least=0, below=1)
        for name in ("weight_decay", "clip_norm"):
            require(f"optimizer.{name}", getattr(self, name), at_least=0)
        require("optimizer.adam_factor", self.adam_factor, above=0)
        if self.nesterov and not self.momentum:
            raise CifarTrackError(
                "optimizer.nesterov=true looks ahead along a momentum; expected "
                "optimizer.momentum above 0"
            )


@dataclass(frozen=True, kw_only=True)
class Schedule(Section):
    """How the learning rate goes over the steps of a fit.

    Attributes:
        shape: after the warm-up, `constant`, `linear` or `cosine` down to `final`; or `one_cycle`
            (Smith and Topin 2017), by halves of a cosine up from a twenty-fifth and down.
            `linear` with a warm-up is a triangle.
        warm_up: the share of all steps in which it rises, in a line from 0 (`one_cycle`: in a
            curve).
        final: what is left at the end of one that falls.
    """

    shape: str = "constant"
    warm_up: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("schedule.shape", self.shape, SCHEDULES)
        require("schedule.warm_up", self.warm_up, at_least=0, below=1)
        require("schedule.final", self.final, at_least=0, at_most=1)
        if self.shape == "one_cycle" and not self.warm_up:
            raise CifarTrackError(
                "schedule.shape=one_cycle goes up before it comes down; expected schedule.warm_up "
                "above 0, such as 0.3"
            )


@dataclass(frozen=True, kw_only=True)
class Training(Section):
    """How long, in what batches, towards what, with what arithmetic and from which seed.

    Attributes:
        epochs: passes over the training images.
        head_epochs: the first of these, in which the layer that gives the classes is trained
            alone; everything else is frozen, normalisation with its statistics. All of them where
            there are no more.
        head_learning_rate: of those, constant; 0 is the optimizer's. The schedule is that of the
            epochs after them.
        batch_size: images a step.
        seed: of the weights, the order and the augmentation; 0 is a seed.
        deterministic: whether the same seed gives the same figures to the bit.
        precision: of the activations; `auto` is what the hardware computes in.
        label_smoothing: the share of the label that is spread over all classes.
        average: the momentum of a moving average of the weights; the average is what is
            validated and kept. It looks at them every few steps, and takes its momentum to the
            power of so many. 0 is none.
        first_side: side in pixels of the images of the first epoch, 16 or more, from which it
            grows; 0 is their own side in all epochs.
        full_side_from: the share of the epochs after which images have their own side.
    """

    epochs: int = 20
    head_epochs: int = 0
    head_learning_rate: float = 0.0
    batch_size: int = 64
    seed: int = 0
    deterministic: bool = False
    precision: str = "auto"
    label_smoothing: float = 0.0
    average: float = 0.0
    first_side: int = 0
    full_side_from: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require("training.epochs", self.epochs, at_least=1, at_most=MOST_EPOCHS)
        for name in ("head_epochs", "head_learning_rate"):
            require(f"training.{name}", getattr(self, name), at_least=0)
        if self.head_learning_rate and not self.head_epochs:
            raise CifarTrackError(
                f"training.head_learning_rate={self.head_learning_rate} is of the epochs that "
                "train the last layer alone, and there are none; expected training.head_epochs "
                "above 0"
            )
        require("training.batch_size", self.batch_size, at_least=1)
        require("training.seed", self.seed, at_least=0, below=2**31)
        require_choice("training.precision", self.precision, PRECISIONS)
        require("training.label_smoothing", self.label_smoothing, at_least=0, below=1)
        require("training.average", self.average, at_least=0, at_most=MOST_MOMENTUM)
        if self.first_side:  # smaller, and nothing would be left after three poolings
            require("training.first_side", self.first_side, at_least=16, at_most=32)
        require("training.full_side_from", self.full_side_from, at_least=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class Prediction(Section):
    """How a picture is looked at by the finished network; training knows nothing of it.

    `views`: the network's answers are averaged over 1 the picture, 2 it and its mirror image, 6
    these and both shifted by a pixel to the lower right and the upper left, whose answers count
    half as much (Jordan 2024).
    """

    views: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views not in VIEWS:
            raise CifarTrackError(
                f"prediction.views={self.views} is unknown; expected one of "
                f"{', '.join(map(str, VIEWS))}"
            )
