"""The wheel's layout: conf/, at the top of the repository, is installed as deepfake_ms/conf."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["deepfake_ms*"]), "deepfake_ms.conf"],
    package_dir={"deepfake_ms.conf": "conf"},
    package_data={
        "deepfake_ms.conf": ["**/*.yaml"],
        "deepfake_ms.explanation": ["*.j2"],
        "deepfake_ms.prediction": ["*.j2"],
        "deepfake_ms.exporting": ["*.j2"],
        "deepfake_ms.web": ["*.j2", "*.js"],
    },
)
