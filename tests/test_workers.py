"""Several processes and devices on one training: who they are, by the command line."""

import json

import pytest
import tensorflow as tf

from tfvn.workers import Workers, start


def test_the_task_is_read_from_the_environment(monkeypatch):
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    for task, index in ((("chief", 0), 0), (("worker", 0), 1), (("worker", 1), 2)):
        monkeypatch.setenv(
            "TF_CONFIG",
            json.dumps({"cluster": cluster, "task": dict(zip(("type", "index"), task))}),
        )
        workers = start("multiworker")
        assert workers == Workers("multiworker", index, 3)


@pytest.mark.parametrize(
    "text", ["", "{", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}']
)
def test_a_wrong_task_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="multiworker needs TF_CONFIG"):
        start("multiworker")


def test_replicas_are_for_a_mirrored_cpu():
    with pytest.raises(ValueError, match="Received: replicas=2, strategy=none"):
        start("none", 2)
    with pytest.raises(ValueError, match="before TensorFlow computes anything"):
        tf.zeros([])
        start("mirrored", 7)
