"""What suites reach on a real scan, as the documentation says it."""

import numpy as np
import pytest

from tfvn.attacks import Suite
from tfvn.models.variational import VariationalNetwork


# Less than the weakest of several random starts found. small-1 takes 40 seconds of CPU time, and
# standard-1 190.
@pytest.mark.slow
@pytest.mark.parametrize("version, least", [("small-1", 1.37), ("standard-1", 1.39)])
def test_a_suite_reaches_what_is_known_of_a_real_scan(shared_data, version, least):
    # The 16-coil brain with the published network, at radius 1.
    weights = np.load(shared_data("vn_coronal_pd_fs.npz"))
    scan = np.load(shared_data("vn_case.npz"))
    model = VariationalNetwork(
        10, 48, bandwidth=float(weights["rbf_sigma"]), scale=float(weights["rbf_scale"])
    )
    for number, stage in enumerate(model.stages):
        stage.kernel.assign(weights["kernels"][number])
        stage.rbf_weights.assign(weights["rbf_weights"][number])
        stage.data_weight.assign(weights["data_term_weights"][number])
    inputs = {key: scan[key][None] for key in ("kspace", "sensitivity_maps")}
    inputs["mask"] = scan["mask"][None, None, None]
    result = Suite(version=version).run(model, inputs, 1.0)
    assert least <= np.sqrt(2 * result.objective[0]) < 1.42
