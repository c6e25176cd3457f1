"""The variational network as a competent user writes it in TensorFlow, textbook line by textbook
line: the baseline of the benchmarks.

Shifted, orthonormal 2-D transforms and the residual in k-space; `tf.nn.conv2d` and its transpose on
the padded image; the activation a loop over the centres; compiled as a whole. It reads the weights
of a `tfvn.models.variational.VariationalNetwork` and uses none of its code. Gradients come in two
ways:

    by hand     XLA fuses the activation into one pass, with its derivative as a second result; its
                weight gradient is taken centre by centre; the rest is differentiated automatically
    automatic   everything is. As that keeps 31 tensors for each activation, more than fits for all
                stages, the regulariser is recomputed stage by stage (`tf.recompute_grad`)
"""

import tensorflow as tf


def fft2c(x):
    x = tf.signal.fft2d(tf.signal.ifftshift(x, axes=(-2, -1)))
    return tf.signal.fftshift(x, axes=(-2, -1)) / _scale(x)


def ifft2c(x):
    x = tf.signal.ifft2d(tf.signal.ifftshift(x, axes=(-2, -1)))
    return tf.signal.fftshift(x, axes=(-2, -1)) * _scale(x)


def _scale(x):
    return tf.cast(tf.sqrt(float(x.shape[-2] * x.shape[-1])), x.dtype)


def forward(image, maps, mask):
    return tf.cast(mask, image.dtype) * fft2c(maps * image[:, None])


def adjoint(kspace, maps, mask):
    return tf.reduce_sum(tf.math.conj(maps) * ifft2c(tf.cast(mask, kspace.dtype) * kspace), 1)


def _gaussian(x, activation, j):
    center = -activation.grid_limit + j * 2 * activation.grid_limit / (activation.num_centers - 1)
    q = (x - center) / activation.bandwidth
    return q, tf.exp(-tf.square(q) / 2)


def rbf(x, weights, activation):
    value = 0.0
    for j in range(activation.num_centers):
        _, gaussian = _gaussian(x, activation, j)
        value += weights[:, j] * gaussian
    return value


def rbf_by_hand(x, weights, activation):
    @tf.function(jit_compile=True)
    def value_and_derivative(x, weights):
        value = derivative = 0.0
        for j in range(activation.num_centers):
            q, gaussian = _gaussian(x, activation, j)
            value += weights[:, j] * gaussian
            derivative -= weights[:, j] * q * gaussian / activation.bandwidth
        return value, derivative

    def weight_gradient(x, cotangent):
        terms = []
        for j in range(activation.num_centers):
            _, gaussian = _gaussian(x, activation, j)
            terms.append(tf.reduce_sum(cotangent * gaussian, [0, 1, 2]))
        return tf.stack(terms, 1)

    @tf.custom_gradient
    def phi(x, weights):
        value, derivative = value_and_derivative(x, weights)

        def gradient(cotangent):
            return cotangent * derivative, weight_gradient(x, cotangent)

        return value, gradient

    return phi(x, weights)


def _regulariser(channels, kernel, weights, stage, activation):
    k = stage.kernel_size
    padded = tf.pad(channels, [[0, 0], [k, k], [k, k], [0, 0]], "SYMMETRIC")
    features = activation(tf.nn.conv2d(padded, kernel, 1, "SAME"), weights, stage.activation)
    result = tf.nn.conv2d_transpose(features, kernel, tf.shape(padded), 1, "SAME")
    return result[:, k:-k, k:-k] / stage.filters


def regulariser(image, kernel, weights, stage, automatic):
    channels = tf.stack([tf.math.real(image), tf.math.imag(image)], -1)
    if automatic:
        recomputed = tf.recompute_grad(lambda *given: _regulariser(*given, stage, rbf))
        result = recomputed(channels, kernel, weights)
    else:
        result = _regulariser(channels, kernel, weights, stage, rbf_by_hand)
    return tf.complex(result[..., 0], result[..., 1])


def network(model, kspace, maps, mask, parameters=None, automatic=False):
    """The complex image of `model` (batch, rows, width).

    `parameters` are its kernels, RBF weights and data weights; None stands for its own.
    """
    image = adjoint(kspace, maps, mask)
    for stage, kernel, weights, data_weight in zip(model.stages, *(parameters or copies(model))):
        residual = adjoint(forward(image, maps, mask) - kspace, maps, mask)
        change = regulariser(image, kernel, weights, stage, automatic)
        image = image - change - tf.cast(data_weight, image.dtype) * residual
    return image


def copies(model):
    """The kernels, RBF weights and data weights of a model, as lists of tensors."""
    blocks = []
    for block in model.parameter_blocks.values():
        blocks.append([tf.identity(weight) for weight in block])
    return blocks


def reconstruct(model, kspace, maps, mask, parameters=None, automatic=False):
    return tf.abs(network(model, kspace, maps, mask, parameters, automatic))
