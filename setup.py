"""Package definition. Every dependency says why it is here; the constraint files pin the versions
that were tested.

Two stacks (tfvn/compat.py): Python 3.9 to 3.11 take TensorFlow 2.15 with Keras 2 and
tensorflow-addons; Python 3.12 and later, for which those do not exist, TensorFlow 2.21 with Keras
3. On an older Python `make STACK=keras3 ...` installs the second.
"""

from setuptools import find_packages, setup

_KERAS_2, _KERAS_3 = 'python_version < "3.12"', 'python_version >= "3.12"'

setup(
    name="tfvn",
    version="0.1.0",  # also in tfvn/provenance.py
    description=(
        "Adversarially robust MRI reconstruction with variational networks, in TensorFlow 2 and"
        " Keras"
    ),
    license="MIT",
    # configs/ is installed as tfvn/configs: the demo reads it there.
    packages=[*find_packages(include=["tfvn", "tfvn.*"]), "tfvn.configs"],
    package_dir={"tfvn.configs": "configs"},
    package_data={
        "tfvn.results": ["page/*"],
        "tfvn.leaderboard": ["*.json"],
        "tfvn.configs": ["*.yaml", "*/*"],
    },
    entry_points={"console_scripts": ["tfvn = tfvn.__main__:entry"]},
    python_requires=">=3.9",
    install_requires=[
        # the last release with Keras 2, which tensorflow-addons needs
        f"tensorflow>=2.15,<2.16; {_KERAS_2}",
        f"tensorflow>=2.21,<2.22; {_KERAS_3}",
        # asked for by the users: RectifiedAdam, Lookahead, ConditionalGradient, TimeStopping,
        # progress bar
        f"tensorflow-addons>=0.23,<0.24; {_KERAS_2}",
        "tensorboard>=2.15",  # asked for by the users; current TensorFlow no longer brings it
        # tensorboard 2.15 starts with its pkg_resources, which version 82 no longer has
        f"setuptools<81; {_KERAS_2}",
        "keras-tuner>=1.4,<2",  # asked for by the users: hyper-parameter search
        f"numpy<2; {_KERAS_2}",  # TensorFlow 2.15 is built against NumPy 1
        f"numpy; {_KERAS_3}",
        "scikit-learn>=1.3",  # Keras Tuner's Bayesian search, which does not bring it
        "scipy>=1.9",  # MATLAB v5 files, the error function of the certificates
        # MATLAB v7.3 and .h5 scans, fastMRI and ISMRMRD: the tables of acquisitions have named
        # columns, so that the ismrmrd package is not needed; attacks and reconstructions are HDF5
        "h5py>=3.8",
        "matplotlib>=3.7",  # figures
        "pillow>=9",  # 8-bit grey images, which matplotlib does not write
        "jinja2>=3.1",  # the HTML report: templates that escape all they are given
        "pyyaml>=6",  # configs
        "tqdm>=4.60",  # progress bars with the time left
    ],
    extras_require={
        # Raw files of Siemens' scanners. Their format is not published, and changes with the
        # software of the scanner: who reads them keeps up with it.
        "siemens": ["twixtools>=0.24"],
        # Real magnitude images to train on: NIfTI and DICOM.
        "images": ["nibabel>=5", "pydicom>=2.4"],
        # Work on several processes and machines: --workers and --scheduler. 2024.8 is the last for
        # Python 3.9.
        "dask": ["distributed>=2024.8"],
        "test": [
            "distributed>=2024.8",  # as above: its tests need it
            # The job script of docs/howto/scale.md is made by it in a test. It has no Python 3.9.
            'dask-jobqueue>=0.9; python_version >= "3.10"',
            # As above: their formats are read in tests. The files are written by pydicom 3, which
            # has no Python 3.9.
            "nibabel>=5",
            'pydicom>=3; python_version >= "3.10"',
            "twixtools>=0.24",
            "pytest>=7",
            "pytest-xdist>=3.8",  # both cores at once: most of a test is tracing, on one
            "ruff==0.15.22",  # `make style`; another version may lay the code out otherwise
            "scikit-image>=0.20",  # the SSIM that ours must equal
            "selenium>=4.20",  # opens the report in headless Chromium; skipped where there is none
        ],
        "docs": [
            "sphinx>=7.4,<8",  # pages from docs/ and docstrings; the last for Python 3.9
            "myst-parser>=3,<4",  # docs/ is Markdown
            "furo",  # a theme that can be read on a narrow screen
        ],
    },
)
