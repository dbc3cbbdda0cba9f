"""Every metric's constants, in one place: what the papers and torch-fidelity 0.4 use."""

from typing import Literal

FLOOR = "floor/"  # prefix of the keys of real held-out pictures, evaluated as if they were generated
NUM_SAMPLES = 50_000  # generated pictures, and real ones at most (CIPS, section 4: 50k against the first 50k)
REAL_CHOICE: Literal["spread"] = "spread"  # which real pictures, where there are more; see `choice`

RNG_SEED = 2020  # torch-fidelity's, of KID's subsets and of the Inception Score's shuffle
KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
KID_DEGREE = 3  # kernel (x.y / D + 1) ** 3: Binkowski et al., ICLR 2018, section 4
KID_COEFFICIENT = 1.0
ISC_SPLITS = 10  # Salimans et al., NeurIPS 2016

NEIGHBOURS = 3  # k of precision and recall: Kynkaanniemi et al., NeurIPS 2019, section 2
DENSITY_NEIGHBOURS = 5  # k of density and coverage: Naeem et al., ICML 2020, section 5

INFINITY_SIZES = 15  # numbers of samples that the Frechet distance is extrapolated from: dgm-eval, compute_FD_infinity
INFINITY_LEAST = 5000  # the least of them, or a tenth of the samples

CMMD_SIGMA = 10.0  # google-research/cmmd, distance.py
CMMD_SCALE = 1000.0
