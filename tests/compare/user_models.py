"""Functions as a user might write them, good and bad; named in tests as ``user_models:…``."""

import json

import torch
from torch import nn


def small(make):
    return nn.Sequential(nn.Linear(2, 6), make(num_channels=6), nn.Linear(6, 1))


def by_shape(make, data):
    return nn.Sequential(nn.Linear(data.train[0].shape[1], 5), make("any name", 5), nn.Linear(5, 1))


def with_an_option(make, width=4):
    return nn.Sequential(nn.Linear(2, width), make("hidden", width), nn.Linear(width, 1))


def fails(make):  # noqa: ARG001
    return 1 / 0


def returns_a_number(make):  # noqa: ARG001
    return 3


def has_no_activation(make):  # noqa: ARG001
    return nn.Linear(2, 1)


def has_no_parameters(make):
    return nn.Sequential(make())


def does_not_fit(make):
    return nn.Sequential(nn.Linear(3, 6), make(num_channels=6), nn.Linear(6, 1))


class FailsInForward(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.layer, self.activation = nn.Linear(2, 1), make(num_channels=1)

    def forward(self, x):  # noqa: ARG002
        raise KeyError("no such layer")


def fails_in_forward(make):
    return FailsInForward(make)


def asks_for_a_device(make):
    torch.zeros(1, device="no such device")
    return small(make)


def fails_in_the_standard_library(make):  # noqa: ARG001
    return json.loads("{")
