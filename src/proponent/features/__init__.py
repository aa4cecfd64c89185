"""Features: what methods need from a model, such as gradients, curvature, outputs and representations.

Glossary of gradients, from the largest to the smallest:

- *block*: the gradients of n examples with respect to all trainable parameters;
- *part* of a block: the gradients with respect to one weight with its bias, or one other parameter;
- *term* of a part: the contribution of one *use* of the weight; a part is the sum of its terms;
- *factor* of a term: the inputs of the use, or the gradients of its outputs; a term is the sum of their outer products;
- *use*: one *call* of an operation with a parameter as its weight; a call is any call of such an operation;
- *layer*: the uses of one weight whose rows overlap, one block of a Kronecker-factored curvature;
- *side* of a layer: the left or the right one of its factors, projected or diagonalised on its own.

Modules, each built on those before it: :mod:`.gradients`; ``representations`` (outputs and inputs of the last layer) and
``variants`` (cheap copies of a network); :mod:`.curvature`; ``views`` (the objects that methods receive);
``storage_choice`` (exact or projected), ``member_network`` (curvature along a training) and ``member_features``
(features to store, and back).
"""
