"""Shared fixtures: random multi-coil cases and the optional data folder. What keeps the suite short
and small is here too.
"""

import ctypes
import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import subprocess
import sys
from pathlib import Path

import numpy as np
import processes
import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


# The modules of tests that take longest, the longest first. They begin first, so that no worker is
# left alone with one of them at the end.
LONGEST = (
    "test_attacks",
    "test_training",
    "test_monotone",
    "test_models",
    "test_evaluation",
    "test_apgd",
    "test_smoothing",
    "test_leaderboard_run",
    "test_flags",
    "test_scripts",
    "test_summaries",
    "test_network",
    "test_threats",
    "test_docs",
    "test_searches",
    "test_leaderboard",
    "test_importers",
    "test_adapters",
    "test_serving",
    "test_figures",
    "test_activations",
    "test_tuning",
    "test_given",
    "test_defences",
    "test_house",
    "test_main",
    "test_tracks",
    "test_surroundings",
    "test_paper",
    "test_threat_runs",
    "test_flagged",
    "test_distribution",
    "test_device",
    "test_compiled",
    "test_config",
    "test_full_disk",
)
# `make test STACK=keras3` leaves these out: what they test is the same on both stacks, or calls
# what other modules call there too.
ONE_STACK = {
    "test_api",
    "test_bart_weights",
    "test_benchmarks",
    "test_cascade_weights",
    "test_certificates",
    "test_classical",
    "test_cluster",
    "test_config",
    "test_configurations",
    "test_conjugate_gradient",
    "test_data_agreement",
    "test_data_axes",
    "test_data_check",
    "test_data_coils",
    "test_data_compression",
    "test_data_espirit",
    "test_data_fastmri",
    "test_data_files",
    "test_data_hdf5",
    "test_data_images",
    "test_data_ismrmrd",
    "test_data_matlab5",
    "test_data_measurement",
    "test_data_prepared",
    "test_data_recognise",
    "test_data_sampling",
    "test_data_sensitivity",
    "test_data_siemens",
    "test_data_vlo",
    "test_demo_search",
    "test_discs",
    "test_docs",
    "test_draws",
    "test_fastmri_run",
    "test_fastmri_weights",
    "test_features",
    "test_first_edition",
    "test_full_disk",
    "test_fused",
    "test_killed_defences",
    "test_layers",
    "test_leaderboard",
    "test_leaderboard_add",
    "test_leaderboard_intervals",
    "test_leaderboard_run",
    "test_leaderboard_tasks",
    "test_lipschitz",
    "test_locks",
    "test_masks",
    "test_metrics",
    "test_modl_weights",
    "test_noise",
    "test_paper",
    "test_recipe_runs",
    "test_reconstruction",
    "test_repeat",
    "test_style",
    "test_tables",
    "test_tensorboard",
    "test_volume_protocol",
    "test_wheel",
    # What is written of answers is the same whatever gives them. test_house writes it on both.
    "test_drawn",
    "test_evaluation",
    "test_figures",
    "test_flagged",
    "test_floor",
    "test_report",
    "test_results",
    "test_strongest",
    "test_threat_runs",
    "test_trade",
    "test_transfer",
}
# Of these modules the second stack runs the tests named here alone, and of each the first case.
# They call all of Keras that the module calls.
SECOND_STACK = {
    "test_activations": {
        "test_value_and_gradients_equal_the_sum_of_gaussians",
        "test_value_and_gradients_hold_up_to_the_largest_power_of_single_precision_and_beyond",
        "test_nan_is_carried_through",
        "test_the_configuration_survives_a_round_trip",
    },
    "test_apgd": {
        "test_the_gradient_of_every_threat_and_goal_matches_central_differences",
        "test_the_suite_reaches_the_worst_case_of_a_linear_model",
        "test_loss_and_gradient_are_means_over_the_same_draws",
    },
    "test_attacks": {
        "test_every_perturbation_is_inside_the_ball",
        "test_the_same_seed_gives_the_same_bytes",
        "test_the_weights_of_the_model_are_unchanged",
        "test_the_attack_sees_later_changes_of_the_weights",
        "test_settings_share_one_trace",
        "test_models_of_one_architecture_share_one_trace",
        "test_perturbations_stay_in_the_ball_of_their_norm_and_help",
        "test_the_penalised_ascent_is_its_formula",
    },
    "test_defences": {
        "test_at_its_limit_every_defence_is_the_model_bit_for_bit",
        "test_the_chunk_size_and_batch_mates_do_not_matter",
        "test_models_of_both_views_make_an_ensemble_that_reads_k_space",
        "test_the_last_steps_are_those_of_the_answer",
    },
    "test_compiled": {
        "test_training_is_traced_once_for_all_steps_and_data",
        "test_a_training_step_calls_no_python",
    },
    "test_distribution": {
        "test_two_replicas_share_a_batch_and_none_is_left_without_data",
        "test_training_on_two_replicas_is_training_on_one",
    },
    "test_flags": {"test_a_sound_model_raises_no_flag"},
    # Of every model.
    "test_models": {
        "test_every_model_has_a_row",
        "test_a_model_comes_back_from_its_file",
    },
    "test_ipalm": {
        "test_it_follows_the_formulas_step_by_step",
        "test_a_restored_state_continues_identically",
        "test_the_callers_variables_are_not_counted_as_its_own",
    },
    "test_scripts": {
        "test_a_run_directory_holds_all_that_a_run_made",
        "test_a_trained_run_is_left_as_it_is",
        "test_without_tensorflow_addons_its_callbacks_name_another_way",
        "test_the_network_is_a_keras_model_for_reuse",
    },
    "test_recipes": {
        "test_the_generator_raises_what_the_network_lowers",
        "test_a_training_with_an_adversary_and_an_average_continues_after_a_checkpoint",
    },
    "test_searches": {"test_the_same_seed_gives_the_same_bytes"},
    "test_smug": {
        "test_the_gradient_in_the_weights_matches_central_differences",
        "test_a_weigher_begins_where_the_network_is_trained_further",
        "test_a_file_keeps_a_weigher_and_those_without_one_say_nothing_of_it",
    },
    "test_tracks": {
        "test_a_model_is_deterministic_unless_it_draws",
        "test_the_track_is_read_back_with_a_model",
        "test_of_a_model_without_steps_the_last_are_all",
    },
    "test_serving": {
        "test_a_network_of_double_precision_and_half_the_rows_takes_the_same_inputs",
        "test_any_model_is_served_whatever_it_reads",
        "test_a_folder_is_replaced_only_if_asked_and_only_a_savedmodel",
    },
    "test_smoothing": {
        "test_without_noise_it_is_the_network",
        "test_the_chunk_size_does_not_matter",
        "test_single_draws_are_those_whose_mean_is_the_answer",
        "test_the_same_seed_gives_the_same_bytes",
        "test_there_is_no_gradient_in_the_weights",
        "test_with_other_draws_it_keeps_its_other_settings",
        "test_draws_of_the_model_inside_are_others_in_every_draw",
    },
    "test_summaries": {
        "test_every_iteration_is_logged",
        "test_a_training_that_goes_on_leaves_no_point_twice_and_logging_changes_no_weight",
    },
    "test_surroundings": {
        "test_it_computes_and_draws_the_same_in_silence_whatever_the_surroundings_say",
        "test_a_tensorflow_that_was_looked_for_is_quiet_and_knows_our_networks",
        "test_another_backend_of_keras_that_is_in_use_is_named",
        "test_training_attack_and_evaluation_write_nothing_but_progress",
    },
    "test_threats": {
        "test_wrong_maps_are_given_to_the_model_with_the_data_as_they_are",
        "test_the_first_exchange_is_the_best_of_all",
        "test_no_movement_is_the_image_bit_for_bit",
    },
    "test_tuning": {
        "test_a_trial_that_diverges_is_stored_as_failed",
        "test_hyperband_lets_the_best_trials_go_on",
        "test_an_interrupted_search_ends_like_an_uninterrupted_one",
    },
}
# Of each test of these modules the second stack runs the first case: what differs between the cases
# is TensorFlow's and ours, and not Keras'.
FIRST_CASE = {
    "test_adapters",
    "test_data_pipeline",
    "test_importers",
    "test_monotone",
    "test_network",
    "test_run_models",
    "test_sense",
    *(SECOND_STACK.keys() - {"test_models"}),
}
# The graphs of these modules run as they were traced. TensorFlow's Grappler rewrites a graph before
# its first call, which takes a third of the CPU time of a test whose graphs run a few times. It may
# round otherwise, and changes nothing else. The other modules run the same functions as users do.
AS_TRACED = {
    "test_adapters",
    "test_apgd",
    "test_attacks",
    "test_automap",
    "test_benchmarks",
    "test_cascade",
    "test_classical",
    "test_compiled",
    "test_conjugate_gradient",
    "test_convex_ridge",
    "test_dagan",
    "test_defences",
    "test_discs",
    "test_distribution",
    "test_docs",
    "test_drawn",
    "test_e2e_varnet",
    "test_evaluation",
    "test_fastmri_run",
    "test_fastmri_weights",
    "test_figures",
    "test_fit",
    "test_flagged",
    "test_flags",
    "test_floor",
    "test_gan",
    "test_given",
    "test_house",
    "test_ipalm",
    "test_killed_defences",
    "test_leaderboard_add",
    "test_leaderboard_run",
    "test_lipschitz",
    "test_models",
    "test_modl",
    "test_monotone",
    "test_network",
    "test_paper",
    "test_recipe_runs",
    "test_recipes",
    "test_repeat",
    "test_results",
    "test_rim",
    "test_run_models",
    "test_scripts",
    "test_searches",
    "test_smoothing",
    "test_smug",
    "test_summaries",
    "test_threat_runs",
    "test_threats",
    "test_tracks",
    "test_training",
    "test_transfer",
    "test_tuning",
    "test_unet",
}
# The activations of these modules are not fused by XLA. Each grid and size of an image is compiled
# anew, in a quarter of a second, and takes up to 10 MB that TensorFlow never gives back. The other
# modules fuse them as users do.
UNFUSED = {
    "test_apgd",
    "test_convex_ridge",
    "test_discs",
    "test_docs",
    "test_evaluation",
    "test_fastmri_run",
    "test_figures",
    "test_fit",
    "test_flagged",
    "test_flags",
    "test_given",
    "test_house",
    "test_leaderboard_add",
    "test_leaderboard_run",
    "test_models",
    "test_monotone",
    "test_network",
    "test_paper",
    "test_results",
    "test_run_models",
    "test_searches",
    "test_smoothing",
    "test_smug",
    "test_summaries",
    "test_threat_runs",
    "test_threats",
    "test_tracks",
    "test_training",
    "test_transfer",
    "test_tuning",
}
# The figures that these modules evaluate are pictures of one pixel. test_evaluation and
# test_scripts draw them.
UNDRAWN = {
    "test_distribution",
    "test_docs",
    "test_fastmri_run",
    "test_flagged",
    "test_given",
    "test_house",
    "test_paper",
    "test_recipe_runs",
    "test_summaries",
    "test_threat_runs",
    "test_transfer",
}
# A process that holds more than LARGE bytes after a test drops what was compiled, and again when it
# has grown by GROWTH.
LARGE, GROWTH = 1_200_000_000, 500_000_000


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    seen = set()
    for item in items:
        module, test = item.path.stem, item.originalname
        left_out = test not in SECOND_STACK.get(module, {test})
        again = (module, test) in seen
        if module in ONE_STACK or left_out or (again and module in FIRST_CASE):
            item.add_marker("one_stack")
        if again and item.get_closest_marker("slow_cases"):
            item.add_marker("slow")
        seen.add((module, test))
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (order.get(item.path.stem, len(order)), _traced(item)))


def _traced(item):
    """What a test of attacks traces: the name of its model or of its search; "" for other tests.

    All tests of a name run together, while its compiled functions are kept.
    """
    found = getattr(item, "callspec", None)
    if item.path.stem not in ("test_attacks", "test_apgd", "test_searches") or not found:
        return ""
    return str(found.params.get("name", ""))


def pytest_collection_finish():
    # Tracing makes and frees many small objects. Looking through all that is imported each time
    # took a seventh of the time of test_training and test_attacks.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="module", autouse=True)
def _as_traced(request):
    """Graphs of the modules named above are not rewritten."""
    if request.path.stem not in AS_TRACED:
        yield
        return
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.fixture(scope="module", autouse=True)
def _unfused(request):
    """Activations of the modules named above are plain functions of TensorFlow."""
    if request.path.stem not in UNFUSED:
        yield
        return
    import tensorflow as tf

    from tfvn.models import activations

    def plain(function):
        return tf.function(function, autograph=False)

    # Nothing that is fused may be left to be used beside it: it rounds otherwise.
    forget_traces()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activations, "_fused", plain)
        yield
    forget_traces()


@pytest.fixture(scope="module", autouse=True)
def _undrawn(request):
    """Figures of the modules named above are not drawn."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem in UNDRAWN:
            draw_pixels(patch)
        yield


def draw_pixels(patch):
    """Makes the figures of an evaluation pictures of one pixel, by a `pytest.MonkeyPatch`."""
    from matplotlib import pyplot

    from tfvn.figures import curves, paper

    def pixel(path, *_):
        pyplot.imsave(path, np.zeros((1, 1)), metadata={"Software": "Matplotlib"})

    for module, names in ((paper, ("figure1", "figure3")), (curves, ("figure2", "figure4"))):
        for name in names:
            patch.setattr(module, name, pixel)


@pytest.fixture(scope="session")
def allowed():
    """A list of one number: the bytes that this process may hold before it drops something."""
    return [LARGE]


@pytest.fixture(autouse=True)
def _small_process(allowed):
    """After a test whose process has become large, what was compiled is let go."""
    yield
    if "tensorflow" in sys.modules and resident() > allowed[0]:
        forget_gradients()
        let_go()
        allowed[0] = max(LARGE, resident() + GROWTH)


def resident():
    """The memory that this process holds, in bytes; 0 where /proc does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def forget_gradients():
    """Takes back what `tf.custom_gradient` registers while a function is traced.

    TensorFlow keeps it for ever, and with it all graphs and models. What was traced before has no
    gradient afterwards.
    """
    from tensorflow.python.framework import ops

    registered = ops.gradient_registry._registry
    for name in list(registered):
        if name.startswith("CustomGradient-"):
            del registered[name]


@pytest.fixture(scope="module", autouse=True)
def _small_process_between_modules(allowed):
    """The next module may have other networks: what they have in common is let go as well.

    Activations stay: TensorFlow keeps what XLA made of them for ever, and would make it again.
    """
    yield
    if "tensorflow" in sys.modules and resident() > LARGE:
        from tfvn.models import descent

        descent._descent.cache_clear()
        forget_gradients()
        let_go()
        allowed[0] = max(LARGE, resident() + GROWTH)


def forget_traces():
    """Drops what the package has compiled, of models and of what they have in common."""
    from tfvn.models import activations, compiled, descent

    compiled._kept.clear()
    compiled._own.clear()
    descent._descent.cache_clear()
    activations._kernels.cache_clear()


def let_go():
    """Drops the compiled functions that the package keeps of models, and gives their memory
    back.
    """
    from tensorflow import keras

    from tfvn.models import compiled
    from tfvn.physics import noise

    compiled._kept.clear()
    compiled._own.clear()
    noise._drawing.cache_clear()
    keras.backend.clear_session()
    gc.collect()
    # Without it the C library keeps a quarter of what was freed.
    ctypes.CDLL(None).malloc_trim(0)


def complex_normal(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def dft(size):
    """The centred, orthonormal Fourier matrix by its definition, origin at `size // 2`."""
    index = np.arange(size) - size // 2
    return np.exp(-2j * np.pi * np.outer(index, index) / size) / np.sqrt(size)


def make_case(
    batch=1,
    coils=2,
    height=24,
    width=20,
    mask="columns",
    dtype="complex64",
    seed=0,
    readout_oversampling=False,
):
    """Network inputs as NumPy arrays: unit-RSS maps, a sampled image, max |A^H k| = 1, a different
    one for each sample.

    `mask` is "columns" (half of the lines, the centre among them), "points" (2-D) or "weights"
    (2-D, not binary).
    """
    rng = np.random.default_rng(seed)
    maps = complex_normal(rng, batch, coils, height, width)
    maps /= np.sqrt((np.abs(maps) ** 2).sum(1, keepdims=True))
    sampled = rng.random((batch, 1, 1 if mask == "columns" else height, width))
    weights = sampled if mask == "weights" else (sampled < 0.5).astype(float)
    weights[..., width // 2] = 1
    coil_images = maps * complex_normal(rng, batch, 1, height, width)
    kspace = (weights > 0) * (dft(height) @ coil_images @ dft(width).T)
    zero_filled = (
        np.conj(maps) * (np.conj(dft(height)) @ (weights * kspace) @ np.conj(dft(width)).T)
    ).sum(1)
    if readout_oversampling:
        zero_filled = zero_filled[:, height // 4 + 1 :][:, : height // 2]
    kspace = kspace / np.abs(zero_filled).max((1, 2))[:, None, None, None]
    real = "float64" if dtype == "complex128" else "float32"
    return {
        "kspace": kspace.astype(dtype),
        "sensitivity_maps": maps.astype(dtype),
        "mask": weights.astype(real),
    }


@pytest.fixture(scope="session")
def case():
    """The function `make_case`."""
    return make_case


@pytest.fixture(scope="session")
def fourier_matrix():
    """The function `dft`."""
    return dft


@pytest.fixture(scope="session")
def shared_data():
    """A function from a name to a file of the optional data folder; the test is skipped where it is
    missing.
    """

    def find(name):
        if not (DATA / name).is_file():
            pytest.skip(f"{DATA / name} is not there")
        return DATA / name

    return find


@pytest.fixture(scope="session")
def operations():
    """A function that traces `function(*arguments)`: the types of all operations of its graph and
    of all functions in it.
    """
    import tensorflow as tf

    def find(function, *arguments):
        traced = tf.function(function, autograph=False).get_concrete_function(*arguments)
        graph = traced.graph.as_graph_def()
        return {
            node.op
            for nodes in (graph.node, *(f.node_def for f in graph.library.function))
            for node in nodes
        }

    return find


_PEAK = """
import os, sys
def report_peak():
    # Not getrusage: its maximum includes the process that this one was forked from.
    with open("/proc/self/status") as file:
        kilobytes = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    print("peak", 1024 * kilobytes)
"""


@pytest.fixture(scope="session")
def peak_memory():
    """A function that runs Python code in a new process; what `report_peak()` saw there, in bytes,
    call by call. Environment variables are set before TensorFlow is imported.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc, which only Linux has")

    def run(code, *arguments, **environment):
        if environment:
            command = [sys.executable, "-c", _PEAK + code, *arguments]
            environment = {**os.environ, **environment}
            pipes = dict(capture_output=True, text=True, check=False)
            done = subprocess.run(command, env=environment, **pipes)
        else:
            done = processes.run(_PEAK + code, *arguments)
        assert done.returncode == 0, done.stderr
        return [
            int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("peak ")
        ]

    return run
