"""Models that Python computes, inside TensorFlow's graphs.

An image and its gradient are each one call of Python, slice by slice:

    image = run(inputs),    gradient = pull(inputs, cotangent)

The gradient computes the image again, as nothing is kept in between. A complex cotangent c is that
of TensorFlow and of PyTorch alike: a change d of the image changes the value by Re(conj(c) d).
"""

import threading
import weakref

import tensorflow as tf

from tfvn.models.adapted import Adapted
from tfvn.models.failed_call import Fault

__all__ = ["Bridged"]


class Bridged(Adapted):
    """A model that Python computes.

    A subclass has `run` and `pull`. Both are given eager tensors of one slice. What they raise
    comes out as one sentence that names the model.

    Arguments as for `Adapted`.
    """

    # `pull` knows what is read alone.
    has_maps_gradient = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # Code of others may keep something between two calls. Devices attack in threads.
        self._one_at_a_time = threading.RLock()

    def run(self, inputs):
        """The image (1, rows, width), a real or complex tensor."""
        raise NotImplementedError

    def pull(self, inputs, cotangent):
        """The gradients of what the image is computed from, a dict of tensors.

        Args:
            inputs: of one slice.
            cotangent: of the image, a tensor of its shape, complex if the image is.
        """
        raise NotImplementedError

    def differentiated(self, inputs):
        """The names of the inputs that `pull` has gradients of."""
        return [name for name in ("kspace", "zero_filled") if name in inputs]

    def image(self, inputs):
        given = self.handed_over(inputs)
        parts, is_complex = self._bridged(given)
        return tf.complex(parts[..., 0], parts[..., 1]), is_complex > 0

    def _bridged(self, given):
        """Real and imaginary part (batch, rows, width, 2), and 1 for a complex image."""
        names, wanted = list(given), self.differentiated(given)
        types = [given[name].dtype for name in wanted]
        maps = given["sensitivity_maps"]
        real = maps.dtype.real_dtype
        rows = maps.shape[2] and self.sense.rows(maps.shape[2])[1]
        shape = [maps.shape[0], rows, maps.shape[3], 2]
        # TensorFlow keeps the functions below as long as a graph, which ends with the model.
        title = self.title
        forward = weakref.WeakMethod(self._forward)
        backward = weakref.WeakMethod(self._backward)

        def run(*tensors):
            return forward()(names, *tensors)

        def pull(*tensors):
            method = backward()
            if method is None:
                raise Fault(f"The {title} ended before its gradient. Keep the model.")
            return method(names, wanted, *tensors)

        @tf.custom_gradient
        def bridge(*tensors):
            parts, is_complex = tf.py_function(run, tensors, [real, real])
            parts.set_shape(shape)
            is_complex.set_shape([])

            def gradient(cotangent, _):
                given_back = tf.py_function(pull, [cotangent, is_complex, *tensors], types)
                found = dict.fromkeys(names)
                for name, one in zip(wanted, given_back):
                    one.set_shape(given[name].shape)
                    found[name] = one
                return list(found.values())

            return (parts, is_complex), gradient

        return bridge(*given.values())

    def _forward(self, names, *tensors):
        maps = tensors[names.index("sensitivity_maps")]
        images = []
        with self._one_at_a_time:
            for inputs in _slices(names, tensors):
                with self.errors_named("forward"):
                    image = self.run(inputs)
                self.check_shape(_told(image), image.shape, *maps.shape[2:])
                images.append(image)
        image = tf.concat(images, 0)
        parts = tf.stack([tf.math.real(image), tf.math.imag(image)], -1)
        real = maps.dtype.real_dtype
        return tf.cast(parts, real), tf.cast(image.dtype.is_complex, real)

    def _backward(self, names, wanted, cotangent, is_complex, *tensors):
        found = {name: [] for name in wanted}
        image_cotangent = cotangent[..., 0]
        if is_complex > 0:
            image_cotangent = tf.complex(cotangent[..., 0], cotangent[..., 1])
        with self._one_at_a_time:
            for number, inputs in enumerate(_slices(names, tensors)):
                with self.errors_named("its gradient"):
                    gradients = self.pull(inputs, image_cotangent[number : number + 1])
                for name in wanted:
                    self._check_gradient(name, gradients[name], inputs[name])
                    found[name].append(gradients[name])
        return [tf.concat(gradients, 0) for gradients in found.values()]

    def _check_gradient(self, name, gradient, like):
        if gradient.shape != like.shape or gradient.dtype != like.dtype:
            self.refuse(
                f"must have a gradient of the type and shape of {name}, {_told(like)}. Received: "
                f"{_told(gradient)}"
            )


def _slices(names, tensors):
    """Yields the inputs of each slice of a batch, a dict each."""
    inputs = dict(zip(names, tensors))
    for number in range(inputs["sensitivity_maps"].shape[0]):
        one = {}
        for name, tensor in inputs.items():
            # One mask may be that of all slices.
            place = min(number, tensor.shape[0] - 1)
            one[name] = tensor[place : place + 1]
        yield one


def _told(tensor):
    return f"{tensor.dtype.name} {tuple(tensor.shape)}"
