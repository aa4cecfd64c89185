"""Reproductions of the faults in shared/faults.md, adapted to the current names of modules.

``PYTHONPATH=tests .venv/bin/python tests/faults/reproductions.py [NAME ...]`` prints what happens.
"""
import sys, traceback, warnings; warnings.simplefilter("ignore")
import torch
from torch import nn
from torch.nn import functional as F
from proponent.config.schema import RecipeConfig
from proponent.errors import UserError
from features.models import target_gradients
from proponent.features.curvature.member_curvature import Curvature
from proponent.features.member_features import featurize, read_representations
from proponent.features.views import CheckpointTimes as Moments
from proponent.methods.influence import if_lissa
from proponent.methods.projected_influence import logra
from proponent.methods.representer import rps
from proponent.methods.shared.workspace import Workspace
from proponent.methods.trak import trak
from proponent.methods.unrolling import magic
from proponent.settings.split import Arrays, check_model
from proponent.settings.tasks import get_task
from proponent.training.designs import Run
from proponent.training.lockstep import train
from proponent.training.replay import Replay
from proponent.training.stack import state_dict

g = torch.Generator().manual_seed(0)
Y = torch.arange(70) % 3
X = 2 * torch.randn(3, 6, generator=g)[Y] + torch.randn(70, 6, generator=g)
TASK, RECIPE = get_task("classification"), RecipeConfig(lr=0.1, epochs=2, batch_size=32)

class Fn(nn.Module):
    def __init__(self, f, **parts):
        super().__init__(); self.f = f
        for name, part in parts.items(): setattr(self, name, part)
    def forward(self, x): return self.f(self, x)

def builder(make):
    def build(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed); return make()
    return build
def fit(make, x=X, y=Y, recipe=RECIPE): return train(builder(make), x, y, TASK, recipe, [Run(1, 2), Run(3, 4)])
class At:
    member = 0
    def __init__(self, c): self.c = c
    def at(self, _): return self.c

R = {}
def repro(f): R[f.__name__] = f; return f

@repro
def prelu_wrong_gradients():
    """Rows of a PReLU's gradient come back in another shape; nothing looks at it."""
    m = nn.Sequential(nn.Linear(6, 16), nn.PReLU(), nn.Linear(16, 3))
    block, _ = target_gradients(m, TASK, X[:5], Y[:5])
    print({p.name: tuple(p.values.shape) for p in block.parts if hasattr(p, "values")}, "for a parameter of shape (1,) and 5 examples")
    block.project(64, "sparse", 0); print("a projection is made of it without a word"); block.inner(block)


@repro
def random_tensor_as_plain_attribute():
    """Training uses the first model's B for all; featurize and methods build another one (seed 0)."""
    class Fourier(nn.Module):
        def __init__(self):
            super().__init__(); self.B = 0.7 * torch.randn(6, 32); self.head = nn.Linear(64, 3)
        def forward(self, x):
            z = x @ self.B; return self.head(torch.cat([z.sin(), z.cos()], -1))
    t = fit(Fourier, recipe=RecipeConfig(lr=.2, epochs=60, batch_size=32))
    seen = builder(Fourier)(0); seen.load_state_dict(state_dict(t.template, t.state, 0))     
    print("loss in training", float(t.loss[0, -1]), "| of the model that methods look at", float(F.cross_entropy(seen(X), Y)))

@repro
def scalar_parameter():
    fit(lambda: Fn(lambda s, x: s.a(x) * s.t.exp(), a=nn.Linear(6, 3), t=nn.Parameter(torch.tensor(0.0))))

@repro
def rps_on_integers_is_zero():
    x = (20 * X).long(); m = Fn(lambda s, x: s.a(x.float()), a=nn.Linear(6, 3)); data = Arrays(x[:60], Y[:60], x[60:], Y[60:])
    for d in (data, data._replace(x_train=data.x_train.float(), x_query=data.x_query.float())):
        t, desc = featurize("representations", m, lambda i: m.state_dict(), 1, TASK, d, memory_mib=100, seed=0)
        reps = read_representations(desc, t.__getitem__, d, 0, Moments([1], [.1], [1.]))
        print(d.x_train.dtype, "largest score", float(rps.attribute(d, reps, Workspace()).abs().max()))


@repro
def logra_eigh():
    """float32 eigh of a rank-deficient second moment with rows of zeros (fisher.py:52; kronecker.py uses float64). trackstar too."""
    for seed in range(5):
        torch.manual_seed(seed)
        m = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
        with torch.no_grad(): m[0].bias[:10] = -100.0     # ten dead units
        try: logra.attribute(At(Curvature(m, TASK, X[:60], Y[:60], X[60:], Y[60:], weight_decay=0.0, duration=1.0)), Workspace()); print(seed, "ok")
        except Exception as e: print(seed, type(e).__name__, str(e)[:90])

@repro
def squeeze_of_one_row():
    make = lambda: Fn(lambda s, x: s.b(s.c(x[:, None]).amax(-1, keepdim=True).squeeze()), c=nn.Conv1d(1, 8, 3), b=nn.Linear(8, 3))
    check_model(make(), Arrays(X, Y, X, Y), TASK, "lab"); fit(make, X[:65], Y[:65])

@repro
def magic_without_forward_ad():
    tokens = torch.randint(1, 30, (70, 8), generator=torch.Generator().manual_seed(0))
    r = Replay(builder(lambda: Fn(lambda s, x: s.h(s.e(x)), e=nn.EmbeddingBag(30, 8), h=nn.Linear(8, 3))), TASK, RECIPE, Run(1, 2), Arrays(tokens[:60], Y[:60], tokens[60:], Y[60:]))
    magic.attribute(r)

def _bad(make, x=X):
    def f():
        check_model(make(), Arrays(x, Y, x, Y), TASK, "lab"); fit(make, x)
    return f
net = lambda: nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
R["jit_script"] = _bad(lambda: torch.jit.script(net()))
R["data_parallel"] = _bad(lambda: nn.DataParallel(net()))
R["lazy_linear"] = _bad(lambda: nn.Sequential(nn.LazyLinear(16), nn.Tanh(), nn.Linear(16, 3)))
R["sparse_embedding"] = _bad(lambda: Fn(lambda s, x: s.h(s.e(x).mean(1)), e=nn.Embedding(30, 8, sparse=True), h=nn.Linear(8, 3)), torch.randint(0, 30, (70, 8)))
R["checkpointing"] = _bad(lambda: Fn(lambda s, x: s.b(torch.utils.checkpoint.checkpoint(s.a, x, use_reentrant=False)), a=nn.Linear(6, 16), b=nn.Linear(16, 3)))
R["returns_dict"] = _bad(lambda: Fn(lambda s, x: {"logits": s.a(x)}, a=nn.Linear(6, 3)))
R["bfloat16"] = _bad(lambda: Fn(lambda s, x: s.n(x.bfloat16()).float(), n=net().bfloat16()))
R["changes_its_input"] = _bad(lambda: Fn(lambda s, x: s.a(x.add_(1.0)), a=nn.Linear(6, 3)))
R["lstm"] = _bad(lambda: Fn(lambda s, x: s.h(s.r(x[..., None])[0][:, -1]), r=nn.LSTM(1, 8, batch_first=True), h=nn.Linear(8, 3)))

@repro
def mm_by_keyword():
    target_gradients(Fn(lambda s, x: torch.addmm(input=s.b, mat1=x, mat2=s.w), w=nn.Parameter(torch.randn(6, 3)), b=nn.Parameter(torch.randn(3))), TASK, X, Y)


@repro
def lora_of_a_plain_net_that_keeps_a_tensor():
    m = Fn(lambda s, x: setattr(s, "last", torch.tanh(s.a(x))) or s.b(s.last), a=nn.Linear(6, 16), b=nn.Linear(16, 3))
    m(X); Curvature(m, TASK, X, Y, X, Y, weight_decay=0, duration=1).adapted(4, 1, .01, 0)

def _dead():
    m = Fn(lambda s, x: torch.relu(s.a(x)), a=nn.Linear(6, 3))
    with torch.no_grad(): m.a.bias.fill_(-1e3)
    return At(Curvature(m, TASK, X[:60], Y[:60], X[60:], Y[60:], weight_decay=0.0, duration=1.0))
@repro
def lissa_zero_division():
    if_lissa.attribute(_dead(), Workspace(), damping=0.0, depth=20)
@repro
def trak_on_zero_gradients():
    c = _dead(); c.c.gram = lambda: c.c.train.inner(c.c.train)
    trak.attribute(c, Workspace(), damping=1.0)
@repro
def random_branch_in_forward():
    import random
    for k in range(6):
        random.seed(k)
        try: print(k, float(fit(lambda: Fn(lambda s, x: s.b(torch.tanh(s.a(x)) if random.random() > .5 else s.m(torch.tanh(s.a(x)))), a=nn.Linear(6, 16), m=nn.Linear(16, 16), b=nn.Linear(16, 3))).loss[0, -1]), "silently")
        except Exception as e: print(k, type(e).__name__, str(e)[:90])
@repro
def pair_of_lists():
    from proponent.config.schema import QueriesConfig
    from proponent.settings.split import Split, materialise
    materialise(Split(train=(X.tolist(), Y.tolist()), query=(X.tolist(), Y.tolist())), TASK, QueriesConfig(1, 1), "lab")
@repro
def dict_of_arrays():
    from proponent.config.schema import QueriesConfig
    from proponent.settings.split import Split, materialise
    materialise(Split(train={"x": X, "y": Y}, query={"x": X, "y": Y}), TASK, QueriesConfig(1, 1), "lab")
@repro
def sparse_tensor():
    from proponent.config.schema import QueriesConfig
    from proponent.settings.split import Split, materialise
    materialise(Split(train=(X.to_sparse(), Y), query=(X, Y)), TASK, QueriesConfig(1, 1), "lab")

if __name__ == "__main__":
    for name in sys.argv[1:] or R:
        print(f"== {name}")
        try: R[name]()
        except UserError as e: print("  UserError:", str(e)[:230])
        except Exception as e: print(f"  TRACEBACK {type(e).__name__}: {' '.join(str(e).split())[:200]}  @ {[f'{t.filename.split(chr(47))[-1]}:{t.lineno}' for t in traceback.extract_tb(e.__traceback__) if 'proponent' in t.filename][-1:]}")
