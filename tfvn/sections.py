"""The sections of a configuration: what may stand in each, and what stands there by itself."""

from tfvn import attacks, checks, data, defences, models
from tfvn.parts import Section
from tfvn.training import optimizers, recipes
from tfvn.training.settings import Search, Training

__all__ = ["SECTIONS"]


def _of_data(cache_dir=""):
    """Keys of all data.

    Args:
        cache_dir: folder that keeps prepared slices; empty: they are prepared each time.
    """


def _of_model(file=""):
    """Keys of all models.

    Args:
        file: a trained network to use as it is (.keras, .npz or .pt), in place of a name.
    """


def _of_attack(num_samples=0):
    """Keys of all attacks.

    Args:
        num_samples: draws of the defence in each step of the attack; 0: as many as it has.
    """
    checks.whole("num_samples", num_samples, 0)


SECTIONS = {
    "data": Section(
        "data",
        "the slices: their format, and where they are",
        data.FORMATS,
        "format",
        "synthetic",
        given=("mask", "maps"),
        common=_of_data,
        inside={
            "maps": Section(
                "data.maps",
                "how coil maps are estimated where the data have none",
                data.MAPS,
                "method",
                "low_resolution",
            ),
        },
    ),
    "sampling": Section(
        "sampling", "the mask that undersamples the slices", data.MASKS, "mask", "constant"
    ),
    "model": Section(
        "model",
        "the network",
        models.MODELS,
        "name",
        "variational",
        given=("readout_oversampling", "seed"),
        common=_of_model,
        instead="file",
    ),
    "training": Section(
        "training",
        "how the network is trained",
        common=Training,
        inside={
            "optimizer": Section(
                "training.optimizer",
                "the steps of the training",
                optimizers.OPTIMIZERS,
                "name",
                "ipalm",
                given=("iterations",),
            ),
            "recipe": Section(
                "training.recipe",
                "what the network is trained on",
                recipes.RECIPES,
                "name",
                "clean",
            ),
        },
    ),
    "defence": Section(
        "defence",
        "what is put around the trained network",
        defences.DEFENCES,
        "name",
        "none",
        given=defences.GIVEN,
    ),
    "attacks": Section(
        "attacks",
        "the attacks on the network in its defence, one after the other",
        attacks.ATTACKS,
        "name",
        "ascent",
        given=("seed",),
        common=_of_attack,
        several=True,
    ),
    "search": Section("search", "the search of hyper-parameters", common=Search),
}
