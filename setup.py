"""Package definition. Every dependency says why it is here; `constraints.txt` pins the versions that were tested."""
from setuptools import find_packages, setup

setup(
    name="tfvn",
    version="0.1.0",  # also in tfvn/__init__.py
    description="Adversarially robust MRI reconstruction with variational networks, in TensorFlow 2 and Keras",
    license="MIT",
    packages=find_packages(include=["tfvn", "tfvn.*"]),
    python_requires=">=3.9,<3.12",
    install_requires=[
        "tensorflow>=2.15,<2.16",  # the last release with Keras 2, which tensorflow-addons needs
        "tensorflow-addons>=0.23,<0.24",  # asked for by the users: RectifiedAdam, Lookahead, ConditionalGradient, TimeStopping
        "keras-tuner>=1.4,<2",  # asked for by the users: hyper-parameter search
        "numpy<2",  # TensorFlow 2.15 is built against NumPy 1
        "scipy>=1.9",  # MATLAB v5 files, the error function of the certificates
        "h5py>=3.8",  # MATLAB v7.3 and .h5 scans; attacks and reconstructions are written as HDF5
        "matplotlib>=3.7",  # figures
        "pyyaml>=6",  # configs
        "tqdm>=4.60",  # progress bars with the time left
    ],
    extras_require={
        "test": [
            "pytest>=7",
            "scikit-image>=0.20",  # the SSIM that ours must equal
        ],
    },
)
