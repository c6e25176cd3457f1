"""Compiled functions of models, shared by all models of one architecture.

TensorFlow traces a function again for every object that it is closed over. Models of one
architecture differ in their weights alone. So one model of each architecture, the prototype, is
kept here, and functions are traced for it. A call lends it the weights of the model that it is
called for: the prototype's variables are assigned, and the function runs. A lock holds off other
calls meanwhile. Assigning copies nothing: both variables hold the same memory, until one of them is
assigned anew.

A prototype belongs to a device. Models on different devices work at the same time.

A gradient is computed by a function of its own, which is lent the weights of the forward call
again. What TensorFlow would do by itself may read them late, when the prototype has been lent to
another model.
"""

import collections
import functools
import threading
import weakref

import numpy as np
import tensorflow as tf

from tfvn.models.failed_call import raised_outside

__all__ = ["KEPT", "shared"]

# Compiled functions that are kept, those used last.
KEPT = 32

_lock = threading.RLock()
# They live as long as a compiled function of theirs is kept.
_prototypes = weakref.WeakValueDictionary()
_kept = collections.OrderedDict()
# What is compiled for a model alone, and models that have no twin.
_own = weakref.WeakKeyDictionary()
_without_twin = weakref.WeakSet()


def shared(model, function, *settings):
    """`function(model, *settings, *arguments)`, compiled, as a function of the arguments.

    It is traced once for all models of one architecture. A model whose architecture is None, one
    on a `tf.distribute` strategy, and one whose twin cannot be made have a trace of their own,
    which ends with the model.

    The result is differentiable in the tensors among the arguments, and not in the weights. A
    function must change no weight of its model.

    Args:
        model: has `.architecture`, hashable, equal for models that compute the same with the same
            weights, or None; `.lent()`, the list of its `tf.Variable`s in a fixed order; and
            `.twin()`, a new model of the same architecture.
        function: a function of a module. It is part of the key, so a lambda would be traced again
            every time.
        settings: hashable arguments, part of the key.

    Returns:
        A function of tensors, of nested structures of them, and of None. It is called eagerly;
        inside a graph call `function` itself.
    """
    with _lock:
        prototype = _prototype(model)
        if prototype is None:
            return _compiled_alone(model, function, settings)
        key = (prototype, function, settings)
        if key not in _kept:
            _kept[key] = _Compiled(prototype, function, settings)
            if len(_kept) > KEPT:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        return functools.partial(_kept[key], model)


def _compiled_alone(model, function, settings):
    kept = _own.setdefault(model, {})
    if (function, settings) not in kept:
        # Through a strong reference the model would be kept by what is kept for it.
        reference = weakref.ref(model)

        def call(*arguments):
            return function(reference(), *settings, *arguments)

        kept[function, settings] = tf.function(call, autograph=False)
    return functools.partial(_call_alone, model, kept[function, settings])


def _call_alone(model, compiled, *arguments):
    # Whoever holds this function holds the model, which must not end during the call.
    del model
    with raised_outside():
        return compiled(*arguments)


def _prototype(model):
    """The prototype of the model's architecture on its device; None for a model that shares
    nothing.
    """
    architecture = model.architecture
    if architecture is None or model in _without_twin or tf.distribute.has_strategy():
        return None
    variables = model.lent()
    if any(isinstance(variable, tf.distribute.DistributedValues) for variable in variables):
        return None
    device = ""
    if variables:
        device = variables[0].device
    prototype = _prototypes.get((architecture, device))
    if prototype is None:
        try:
            prototype = _Prototype(model, device)
        # A class of a user may have a `get_config` that it cannot be made of, and raise anything.
        except Exception:
            _without_twin.add(model)
            return None
        _prototypes[architecture, device] = prototype
    return prototype


class _Prototype:
    """A model that is lent the weights of others.

    Args:
        model: any model of the architecture.
        device: of its weights, TensorFlow's name.
    """

    def __init__(self, model, device):
        # Of every variable of the twin, by its identity: whether it would be trained.
        trained = {}

        def create(next_creator, **settings):
            # A gradient tape of the user would watch trainable variables.
            variable = next_creator(**{**settings, "trainable": False})
            # Keras counts steps in variables of this kind, which no model reads.
            if variable.aggregation != tf.VariableAggregation.ONLY_FIRST_REPLICA:
                trained[id(variable)] = settings.get("trainable") is not False
            return variable

        with tf.device(device or None), tf.variable_creator_scope(create):
            self.model = model.twin()
        self._variables = self.model.lent()
        own = [(x.shape, x.dtype, trained.pop(id(x), None)) for x in self._variables]
        if own != [(x.shape, x.dtype, x.trainable) for x in model.lent()]:
            raise ValueError("the twin's weights must be those of the model, one by one.")
        if trained:
            raise ValueError("a variable of the model is none of its weights.")
        # Calls of one thread may be nested where TensorFlow runs functions eagerly.
        self.lock = threading.RLock()

    def lend(self, values):
        """Takes the values of a model's variables. Called while the lock is held."""
        for variable, value in zip(self._variables, values):
            # A third of the time of `variable.assign(value)`, which matters for small images.
            tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)


def _values(variables):
    """What variables hold, read without a gradient tape's knowing of it."""
    read = tf.raw_ops.ReadVariableOp
    return [read(resource=variable.handle, dtype=variable.dtype) for variable in variables]


class _Compiled:
    """`function(model, *settings, *arguments)`, compiled for a prototype."""

    def __init__(self, prototype, function, settings=()):
        self._prototype = prototype
        self._function = functools.partial(_call, function, settings)
        self._compiled = tf.function(
            functools.partial(self._function, prototype.model), autograph=False
        )

    @functools.cached_property
    def _gradient(self):
        return _Compiled(self._prototype, _gradient, (self._function,))

    def __call__(self, model, *arguments):
        arguments = tf.nest.map_structure(_as_tensor, arguments)
        return self._run(model, _values(model.lent()), arguments)

    def _run(self, model, values, arguments):
        """The result for a model whose variables hold `values`, differentiable in the arguments."""
        places = _differentiable(tf.nest.flatten(arguments))
        results = []

        @tf.custom_gradient
        def differentiable(*tensors):
            # Without it TensorFlow would derive a gradient of the call as well.
            given = [tf.stop_gradient(tensor) for tensor in tensors]
            results[:] = [self._compiled(*_replaced(arguments, places, given))]
            outputs = _chosen(results[0], _tensors)

            def gradient(*cotangents):
                wanted = [cotangents[place] for place in _differentiable(outputs)]
                # Of the arguments as they come here, so that this is differentiable too.
                given = _replaced(arguments, places, tensors)
                if tf.executing_eagerly():
                    return self._gradient._run(model, values, (given, wanted))
                return _gradient(model, self._function, given, wanted)

            return outputs, gradient

        with self._prototype.lock:
            self._prototype.lend(values)
            outputs = differentiable(*_chosen(arguments, _differentiable))
        result = results[0]
        return _replaced(result, _tensors(tf.nest.flatten(result)), outputs)


def _call(function, settings, model, *arguments):
    return function(model, *settings, *arguments)


def _gradient(model, function, arguments, cotangents):
    """The gradients of what is differentiable in `function(model, *arguments)`, a list over what is
    differentiable in the arguments.
    """
    sources = _chosen(arguments, _differentiable)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        targets = _chosen(function(model, *arguments), _differentiable)
    return tape.gradient(targets, sources, output_gradients=cotangents)


def _as_tensor(leaf):
    # As a compiled function does by itself, but inside.
    if isinstance(leaf, (np.ndarray, np.generic)):
        return tf.convert_to_tensor(leaf)
    return leaf


def _tensors(leaves):
    """Where in a list there are tensors."""
    return [place for place, leaf in enumerate(leaves) if tf.is_tensor(leaf)]


def _differentiable(leaves):
    """Where in a list there are tensors of real or complex numbers."""
    places = _tensors(leaves)
    return [n for n in places if leaves[n].dtype.is_floating or leaves[n].dtype.is_complex]


def _chosen(structure, places):
    """Those leaves of a nested structure that stand at `places(leaves)` of its flat list."""
    leaves = tf.nest.flatten(structure)
    return [leaves[place] for place in places(leaves)]


def _replaced(structure, places, values):
    """A nested structure with other values at some places of its flat list."""
    leaves = tf.nest.flatten(structure)
    for place, value in zip(places, values):
        leaves[place] = value
    return tf.nest.pack_sequence_as(structure, leaves)
