"""PyTorch modules as models. PyTorch computes the image and its gradient."""

import inspect

import tensorflow as tf

from tfvn import checks
from tfvn.models.adapted import code_of, digest_of, text_of
from tfvn.models.bridge import Bridged

__all__ = ["TorchModule"]

# Of these types are the attributes of a module that its digest knows.
_PLAIN = (bool, int, float, complex, str, tuple, type(None))


class TorchModule(Bridged):
    """A `torch.nn.Module` as a model, see `tfvn.models.from_torch`.

    Inputs cross to PyTorch by DLPack where TensorFlow and the module use devices of one kind, the
    CPU or CUDA. There they are copied once, as a module may write into what it is given. Images and
    gradients cross back by DLPack from CUDA to a GPU of TensorFlow. From the CPU, and between
    devices of two kinds, all crosses as copies of NumPy arrays.

    Args:
        module: the module. It is put into evaluation mode, here and before each call.
        forward: a function of the module and of a dict of torch tensors, to the image.
        reads, readout_oversampling, name, dtype: as for `Reconstructor`.

    Raises:
        ValueError: if PyTorch is not installed, for something that is no module, and for something
            that is no function.
    """

    def __init__(self, module, forward, **kwargs):
        torch = _torch()
        if not isinstance(module, torch.nn.Module):
            raise ValueError(
                f"module must be a torch.nn.Module. Received: module={checks.shown(module)}"
            )
        checks.function("forward", forward, "forward(module, inputs)")
        super().__init__(f"torch module {type(module).__name__}", **kwargs)
        self._torch = torch
        self.module = module.eval()
        self.forward = forward

    def run(self, inputs):
        given = {name: self._to_torch(x).clone() for name, x in inputs.items()}
        with self._torch.no_grad():
            return self._to_tensorflow(self._image(given))

    def pull(self, inputs, cotangent):
        given, leaves = {}, {}
        for name, x in inputs.items():
            given[name] = self._to_torch(x)
        with self._torch.enable_grad():
            for name in self.differentiated(inputs):
                leaves[name] = given[name].requires_grad_()
            # A module may write into what it is given, and not into memory of TensorFlow.
            given = {name: x.clone() for name, x in given.items()}
            image = self._image(given)
            if not image.requires_grad:
                self._refuse_detached()
            cotangent = self._to_torch(cotangent).to(image.device, image.dtype)
            found = self._torch.autograd.grad(
                image, list(leaves.values()), cotangent, allow_unused=True
            )
        if all(gradient is None for gradient in found):
            self._refuse_detached()
        gradients = {}
        for (name, leaf), gradient in zip(leaves.items(), found):
            if gradient is None:
                gradient = self._torch.zeros_like(leaf)
            gradients[name] = self._to_tensorflow(gradient)
        return gradients

    def digest(self):
        parts = [self.module, code_of(self.forward)]
        for name, module in self.module.named_modules():
            parts.append(f"{name} {_code_of_class(type(module), self._torch.nn.Module)}")
            parts.append(_settings_of(module))
        for name, weight in self.module.state_dict().items():
            parts.append(f"{name} {getattr(weight, 'dtype', None)}")
            if self._torch.is_tensor(weight):
                flat = weight.detach().cpu().contiguous().reshape(-1)
                parts.append(flat.view(self._torch.uint8).numpy())
        return digest_of(parts)

    def _image(self, given):
        self.module.eval()
        image = self.forward(self.module, given)
        if not self._torch.is_tensor(image):
            self.refuse(f"must give a torch tensor. Received: {checks.shown(image)}")
        if not (image.is_complex() or image.is_floating_point()):
            self.refuse(f"must give real or complex numbers. Received: {image.dtype}")
        return image

    def _refuse_detached(self):
        self.refuse(
            "must give an image with a gradient in its inputs. Received: one that was detached "
            "from them, as detach(), torch.no_grad, .data and .numpy() do"
        )

    def _device(self):
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            return tensor.device
        return self._torch.device("cpu")

    def _to_torch(self, tensor):
        device = self._device()
        if device.type == _kind_of(tensor):
            capsule = tf.experimental.dlpack.to_dlpack(tensor)
            return self._torch.utils.dlpack.from_dlpack(capsule).to(device)
        # TensorFlow's own memory is not to be written to.
        return self._torch.from_numpy(tensor.numpy().copy()).to(device)

    def _to_tensorflow(self, tensor):
        tensor = tensor.detach().contiguous().resolve_conj()
        if tensor.device.type == "cpu":
            return tf.constant(tensor.numpy())
        if tensor.device.type == "cuda" and tf.config.list_physical_devices("GPU"):
            # TensorFlow does not wait for PyTorch by itself.
            self._torch.cuda.synchronize(tensor.device)
            capsule = self._torch.utils.dlpack.to_dlpack(tensor)
            return tf.experimental.dlpack.from_dlpack(capsule)
        return tf.constant(tensor.cpu().numpy())


def _code_of_class(kind, base):
    """What the methods of a class do, as text, up to those of a class that it is derived from."""
    found = []
    for cls in kind.__mro__:
        if cls is base:
            break
        for name, method in vars(cls).items():
            if inspect.isfunction(method):
                found.append(f"{name} {code_of(method)}")
    return " ".join(found)


def _settings_of(module):
    """The numbers and texts among the attributes of a module, as text."""
    plain = {}
    for name, value in vars(module).items():
        # Whether it is in training makes no difference: it is put into evaluation mode.
        if name != "training" and isinstance(value, _PLAIN):
            plain[name] = value
    return text_of(dict(sorted(plain.items())))


def _kind_of(tensor):
    """The kind of device that a tensor of TensorFlow is on, as PyTorch calls it."""
    return {"CPU": "cpu", "GPU": "cuda"}.get(tf.DeviceSpec.from_string(tensor.device).device_type)


def _torch():
    """The module torch.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        raise ValueError(
            f"A torch module needs PyTorch, which cannot be imported ({error}). Install it: pip "
            "install torch."
        ) from error
    return torch
