"""Training of many models at once: recipes, designs, the lockstep trainer, and replays of a training.

Modules, each built on those before it: ``checkpoint_steps``, ``designs`` (which runs), ``stages`` and ``recipe`` (steps
and learning rates of a run), ``dropout`` and ``stack`` (many models as one), ``group`` and ``lockstep`` (their training),
``memory`` (how many fit), ``predict`` (targets of trained models); ``update``, ``flat_model`` and ``replay`` (one run
again, with derivatives).
"""
