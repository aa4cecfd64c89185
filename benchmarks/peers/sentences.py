"""The sentences of docs/peers.md."""

from __future__ import annotations

HEAD = """# Next to other libraries

<!-- written by `python benchmarks/peers/run.py --page-only` from benchmarks/peers/results.json -->

```bash
make bench-peers
```

installs each library into an environment of its own (locked in `benchmarks/peers/environments/`), runs its own code
and `proponent.Attributor` on the same trained models, and writes this page. It measures only what is not in
`benchmarks/peers/results.json` yet; `make bench-peers ARGS=--fresh` measures everything again.

![Seconds of other libraries relative to this one](images/peers.svg)

Conditions: {processor}; {threads} for every library; torch {torch}; median load average {load}. Each measurement is a
process of its own, which calls the method on 16 examples and 4 queries first, so that no import is measured;
repetitions are the outer loop, so that the libraries take turns. Long calls are not repeated. A row `> 120` is a call
that was ended after 120 s: a lower bound, and so is its ratio. Seconds are the median, with the range of the
repetitions. *Peak* is the largest resident memory of the call above what the process had before it. *Lines* are the
lines of code that a user writes for the method, given a trained model, data sets and hyper-parameters
(`benchmarks/peers/adapters/`).

*Agreement* is the median over queries of the correlation over training examples, Spearman / Pearson. The *dense
reference* is the library's own definition of the method, computed in double precision by plain autograd
(`benchmarks/peers/references.py`), for 500 training examples and 50 queries: influence functions have the inverse of
the Gauss-Newton matrix for this library, and that of the Hessian for the others, each solved to a relative residual of
1e-8. Hyper-parameters are the same for all: damping 0.1 for influence functions; 0.1 times the mean
squared gradient entry of a layer for DataInf, and 0.1 times its mean eigenvalue for EK-FAC; 0.1 times the mean
diagonal of the Gram matrix for TRAK; 50 Arnoldi iterations for 30 eigenvectors; 500 steps of LiSSA with 32 examples;
at most 20 iterations of conjugate gradients.

## Goals

How many times longer the other libraries take, on mnist-mlp (`mlp`) and on a network of two convolutions (`conv`); the
goal is for every library, at the larger size where it was measured.
"""

BOUNDS = """## What bounds the ratios

Where a goal is not reached on `mlp`, this is the reason, for 4,500 × 500 on one thread, on which a large matrix product in
single precision reaches about 98 GFLOPS:

- **graddot, tracin**: captum and kronfluence write gradients of 109,386 numbers out and multiply them, which is 492 GFLOP,
  or 5 s at that speed; they are close to it. This library multiplies the factors of the gradients, which needs about
  9 GFLOP with the passes that make them, or 0.09 s. A factor of 100 to captum would have to be faster than these products.
- **trak**: the Cholesky decomposition of the 4,500 × 4,500 kernel takes 0.5 s (30 GFLOP, at least 0.3 s), its Gram matrix
  0.45 s and the solution for 500 queries 0.35 s, measured alone. 50 times traker would be 0.2 s in all. traker projects to
  512 dimensions instead, and its kernel has 512 rows. trak-10 does the same ten times.
- **if-cg**: a product of the curvature with 500 vectors is 984 GFLOP, or 10 s. Conjugate gradients for each query alone
  need 10 to 20 of them; the Krylov space that 250 queries share needs about five in all. At 500 × 50, where a product takes
  0.1 s, it needs twenty.
- **ekfac**: the scores of all pairs are one product of 492 GFLOP, of which the blocks of the layers save 44 %; it takes 4 of
  the 5.3 s. The corrected eigenvalues have full rank, so that it cannot be factored as that of GradDot is.
- **dualda**: both libraries solve the same support vector machine with LIBLINEAR's compiled solver. It takes 0.06 of the
  0.14 s; the rest is the forward pass, scikit-learn's checks of its input, and the steps that close the duality gap, which
  the other library leaves open. 5 times dualxda would be 0.02 s.

On `conv`, with 7,690 parameters and 784 and 196 positions of its filters, the factors of a gradient are 19,800 numbers,
more than the gradient itself. All libraries write gradients out there, and what remains is the same forward and backward
pass for each example:

- **graddot, tracin, trak**: at the larger size a pass with gradients takes about 0.4 ms per example in each library, which
  is 1.9 of the 2.6 s of GradDot. This library runs the network once more for all examples together, a quarter of that time,
  to refuse models whose examples affect each other. TRAK has the kernel of all 4,500 examples here, as on `mlp`; the others
  have 512 random dimensions.
- **ekfac**: the expectation over the ten labels takes ten backward passes, once for the factors and once for the
  eigenvalues; kronfluence draws one label, and dattri leaves the convolutions out. In exchange the scores are those of the
  dense reference.
- **if-cg**: the Gauss-Newton matrix (7,690 × 7,690) is formed, which takes 0.6 TFLOP at 500 examples and 5.3 TFLOP at 4,500;
  the products with it cost nothing then.
"""

FOOT = """## Reading the numbers

- dattri, captum and pyDVL accept any differentiable function and write gradients out. This library looks at the layers and
  computes inner products of gradients from their factors; it refuses models whose layers it does not know.
- `trak` has no random projection here: the Gram matrix of the gradients is exact.
- The small size is the check of accuracy. Times below 0.1 s are fixed costs of Python.
"""

_ROUNDED = (
    "the derivative of the loss at the label is p − 1 in single precision, which keeps few digits or none for p near 1; "
    "here 1 − p comes from the other logits. Only the ranks of examples with tiny scores differ."
)
_HESSIAN = "the curvature is the Hessian of the loss; here it is the Gauss-Newton matrix."
_LEADING = f"{_HESSIAN} All leave out all but 30 directions, so that no library is near the exact inverse."
_SAMPLED = (
    "one label is sampled per example for the Fisher matrix; here the expectation over the labels is exact (up to 32 "
    "classes)."
)
_PROJECTED = (
    "gradients are projected to 512 random dimensions, about as many as there are examples at the smaller size; here "
    "nothing is projected. With the damping in the same units, traker and dattri agree with each other."
)
_ABSOLUTE = (
    "one damping for all layers; here it is relative to each layer. The reference has the library's damping."
)
REASONS: dict[tuple[str, str], str] = {
    ("graddot", "dattri"): _ROUNDED,
    ("graddot", "captum"): _ROUNDED,
    ("graddot", "kronfluence"): _ROUNDED,
    ("if-cg", "dattri"): _HESSIAN,
    ("if-cg", "pydvl"): _HESSIAN,
    ("if-lissa", "dattri"): f"{_HESSIAN} Each library draws other batches.",
    ("if-lissa", "pydvl"): f"{_HESSIAN} Each library draws other batches.",
    ("if-arnoldi", "dattri"): _LEADING,
    ("if-arnoldi", "captum"): _LEADING,
    ("if-arnoldi", "pydvl"): _LEADING,
    ("datainf", "dattri"): _ABSOLUTE,
    ("datainf", "pydvl"): _ABSOLUTE,
    ("ekfac", "dattri"): (
        "gradients of weight and bias are put one after the other and then read as a matrix with one column more, which "
        "mixes their entries (`IFAttributorEKFAC.transform_test_rep` of 0.3.0), and the Fisher matrix is that of the true "
        "labels. A reference with both changes has the Pearson correlation 0.994 with its scores, and 0.50 with the true "
        "labels alone (500 × 50, mnist-mlp). Convolutions are left out, and one absolute damping serves all layers."
    ),
    ("ekfac", "kronfluence"): _SAMPLED,
    (
        "ekfac",
        "pydvl",
    ): f"{_SAMPLED[:-1]}. One absolute damping serves all layers, and convolutions are left out.",
    ("trak", "dattri"): _PROJECTED,
    ("trak", "traker"): _PROJECTED,
    ("trak-10", "dattri"): _PROJECTED,
    (
        "trak-10",
        "traker",
    ): f"{_PROJECTED} Its inverse is divided by its mean entry, which gives each model another weight.",
    ("rps", "dattri"): (
        "the last layer is fitted to the probabilities of the network and has no bias; here to the labels, with a bias. The "
        "reference has the library's targets."
    ),
}
