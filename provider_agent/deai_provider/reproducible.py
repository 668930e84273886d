"""What the environment of a run says where another machine must get the same bytes. Pure.

Measured: the same seeded training differs between the processors' kernels of one library, and a product of matrices between one thread and
two. Times, hash seeds and locales leak in as well.
"""

from deai.spec import Spec

ENVIRONMENT = {
    "OPENBLAS_CORETYPE": "Haswell",
    "MKL_CBWR": "COMPATIBLE",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": "0",
    "TZ": "UTC",
    "LC_ALL": "C",
}


def environment(spec: Spec) -> tuple[tuple[str, str], ...]:
    """The variables of a run of `spec`: its own, and, where its result may be re-run, those that it does not say itself."""
    pinned = {} if spec.verification == "none" else ENVIRONMENT
    return tuple(sorted({**pinned, **spec.env}.items()))
