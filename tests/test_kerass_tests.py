"""Keras's own tests of the classes that ours take the place of, run against ours."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from keras.src.layers.normalization import batch_normalization_test
from keras.src.layers.regularization import dropout_test
from keras.src.optimizers import adam_test, muon_test

from cifar_track import optimizers
from cifar_track.models import layers

# Of the generators and the networks that these tests make.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning"),
    pytest.mark.filterwarnings("ignore:The model does not have any trainable weights:UserWarning"),
]


def in_the_place_of(module, **ours):
    """A fixture for a class of Keras's tests: `layers.Name`, or `Name` itself, is ours."""

    @pytest.fixture(autouse=True)
    def replace(self, monkeypatch):
        theirs = vars(module)
        if "layers" in theirs:
            replaced = SimpleNamespace(**{**vars(theirs["layers"]), **ours})
            monkeypatch.setattr(module, "layers", replaced)
        else:
            for name, kind in ours.items():
                monkeypatch.setattr(module, name, kind)

    return replace


class TestBatchNormalization(batch_normalization_test.BatchNormalizationTest):
    replaced = in_the_place_of(
        batch_normalization_test, BatchNormalization=layers.BatchNormalization
    )


class TestDropout(dropout_test.DropoutTest):
    replaced = in_the_place_of(dropout_test, Dropout=layers.Dropout)


class TestAdam(adam_test.AdamTest):
    replaced = in_the_place_of(adam_test, Adam=optimizers.Adam)


class TestMuon(muon_test.MuonTest):
    replaced = in_the_place_of(muon_test, Muon=optimizers.Muon)
    # To a thousandth, where ours computes in bfloat16; test_optimizers.py has what ours is held to.
    test_Newton_Schulz = None  # noqa: N815 - Keras's own name
