"""Our U-Net, E2E-VarNet and MoDL against PyTorch's, with the same weights and the same slice.

    python -m benchmarks.pytorch [--threads 1] [--rounds 7] [--small] [--only U-Net ...]

It needs PyTorch and fastMRI. The U-Net is that of fastMRI with 32 channels, and the E2E-VarNet has
12 cascades of 18 channels and finds its maps: both are the published sizes, and the modules are
fastMRI's own. MoDL has 10 iterations of 5 layers of 64 filters and 10 steps of conjugate gradients,
in `benchmarks/pytorch_networks.py`.

There are 8 coils and 320 x 184 pixels. Timed are the image, and the gradient of half the squared
change of it in a perturbation r of k + A r, which a step of an attack takes. Both sides take turns,
and a time is the median of the rounds. Beside the time on the wall stands that of the processor,
which is what to compare where other work runs on the machine; with more than one thread PyTorch
also counts there how long its threads wait for each other.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import torch

from benchmarks.problem import Size, make_image, make_inputs
from benchmarks.pytorch_networks import FACTORIES, forward_operator
from tfvn.models import E2EVarNet, MoDL, UNet
from tfvn.physics import measurement

FULL = Size(coils=8, height=320, width=184)
SMALL = Size(coils=2, height=32, width=32)


def networks(small):
    """Ours by their names, with random weights."""
    if small:
        return {
            "U-Net": UNet(2, 2, "magnitude", 6.0),
            "E2E-VarNet": E2EVarNet(2, 2, 2, 2, 2),
            "MoDL": MoDL(2, 2, 2, cg_steps=10, tolerance=0.0),
        }
    return {
        "U-Net": UNet(32, 4, "magnitude", 6.0),
        "E2E-VarNet": E2EVarNet(12, 18, 4, 8, 4),
        "MoDL": MoDL(10, 5, 64, cg_steps=10, tolerance=0.0),
    }


def ours(network, inputs, perturbation):
    """The image and the gradient, as functions without arguments."""
    inputs = network.measured(inputs)
    clean = network.reconstruct(inputs)

    @tf.function(autograph=False)
    def step(perturbation):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(perturbation)
            changed = measurement.perturbed(network.sense, inputs, perturbation)
            energy = tf.reduce_sum(tf.square(network.answer(changed) - clean)) / 2
        return tape.gradient(energy, perturbation)

    return {
        "image": lambda: network.reconstruct(inputs).numpy()[0],
        "gradient": lambda: step(perturbation).numpy()[0],
    }


def theirs(reconstruct, inputs, perturbation):
    """The same by PyTorch."""
    names = ("kspace", "sensitivity_maps", "mask")
    kspace, maps, mask = (torch.tensor(inputs[name].numpy()[0]) for name in names)
    perturbation = torch.tensor(perturbation.numpy()[0])

    def image():
        with torch.no_grad():
            return reconstruct(kspace, maps, mask).numpy()

    clean = torch.tensor(image())

    def gradient():
        r = perturbation.clone().requires_grad_()
        changed = kspace + forward_operator(r, maps, mask)
        energy = torch.sum((reconstruct(changed, maps, mask) - clean) ** 2) / 2
        return torch.autograd.grad(energy, r)[0].numpy()

    return {"image": image, "gradient": gradient}


def seconds(function):
    """Seconds on the wall and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - processor


def compared(ours, theirs, rounds):
    """Medians of both, (ours or theirs, wall or processor), and their relative difference."""
    first, second = ours(), theirs()
    difference = np.linalg.norm(first - second) / np.linalg.norm(second)
    times = []
    for _ in range(rounds):
        times.append([seconds(ours), seconds(theirs)])
    return np.median(times, 0), difference


def rows(name, network, arguments, size):
    """Lines of the table for a network."""
    inputs, perturbation = make_inputs(size), 0.01 * make_image(size)
    mine = ours(network, inputs, perturbation)
    others = theirs(FACTORIES[name](network), inputs, perturbation)
    for what in ("image", "gradient"):
        times, difference = compared(mine[what], others[what], arguments.rounds)
        (wall, processor), (their_wall, their_processor) = times
        cells = [f"{x:.3f} s" for x in (wall, their_wall, processor, their_processor)]
        ratios = [f"{their_wall / wall:.2f}", f"{their_processor / processor:.2f}"]
        yield f"| {name}, {what} | {' | '.join([*cells, *ratios])} | {difference:.0e} |"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, help="of either side")
    parser.add_argument("--rounds", type=int, default=7, help="turns of either side")
    parser.add_argument("--small", action="store_true", help="to see that everything runs")
    parser.add_argument("--only", nargs="+", choices=FACTORIES, default=list(FACTORIES))
    arguments = parser.parse_args(argv)
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    size = SMALL if arguments.small else FULL
    versions = f"TensorFlow {tf.__version__}, PyTorch {torch.__version__}"
    print(f"{versions}, {arguments.threads} threads, {arguments.rounds} rounds\n")
    print("| | ours | PyTorch | ours, processor | PyTorch | faster | processor | difference |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, network in networks(arguments.small).items():
        if name in arguments.only:
            for line in rows(name, network, arguments, size):
                print(line, flush=True)


if __name__ == "__main__":
    main()
