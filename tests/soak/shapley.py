"""Path-dependent Shapley values of an XGBoost model in double precision, straight from their integral.

For a leaf of value v with the distinct features 1..k on its path, z is the share of the training weight that stays on
the path at the splits on a feature, and o is 1 if the row stays on it there, otherwise 0. The leaf gives feature j
v (o_j - z_j) times the integral from 0 to 1 of the product of (o_i t + z_i (1 - t)) over all other features i. 12 Gauss
nodes are exact for up to 24 features. Slow, and written apart from the engine: it judges the engine's contributions and
those of the libraries.
"""

import json
from dataclasses import dataclass

import numpy as np

NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2
#: Rows that are worked on at once, so that the products stay in the cache.
ROWS = 500


@dataclass
class Tree:
    left: list
    right: list
    feature: list
    threshold: np.ndarray
    default_left: list
    cover: list
    #: For each split on categories the codes that go right.
    sets: dict


def trees(model):
    """Yields the trees of a booster and what their leaves are multiplied by."""
    document = json.loads(bytes(model.save_raw("json")))["learner"]["gradient_booster"]
    model = document.get("gbtree", document)["model"]
    # Beside the trees from XGBoost 3.4 on.
    weights = document.get("weight_drop") or model.get("weight_drop") or [1.0] * len(model["trees"])
    for tree, weight in zip(model["trees"], weights, strict=True):
        ranges = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"])
        sets = {node: tree["categories"][start : start + size] for node, start, size in ranges}
        threshold = np.asarray(tree["split_conditions"], dtype="float32")
        yield (
            Tree(
                tree["left_children"],
                tree["right_children"],
                tree["split_indices"],
                threshold,
                tree["default_left"],
                tree["sum_hessian"],
                sets,
            ),
            weight,
        )


def goes_left(tree, node, values):
    """Returns the rows that go left at a split."""
    right = tree.sets.get(node)
    below = values.astype("float32") < tree.threshold[node]
    left = below if right is None else ~np.isin(values, right)
    return np.where(np.isnan(values), bool(tree.default_left[node]), left)


def leaves(tree, rows):
    """Yields the leaves of a tree: value and path, which is for each feature the rows that stay and the share."""
    pending = [(0, {})]
    while pending:
        node, path = pending.pop()
        if tree.left[node] < 0:
            yield np.float64(tree.threshold[node]), path
            continue
        feature = tree.feature[node]
        left = goes_left(tree, node, rows[:, feature])
        sides = ((tree.left[node], left), (tree.right[node], ~left))
        total = sum(np.float64(tree.cover[child]) for child, _ in sides)
        for child, stays in sides:
            kept, share = path.get(feature, (True, 1.0))
            edge = (kept & stays, share * np.float64(tree.cover[child]) / total)
            pending.append((child, path | {feature: edge}))


def add_leaf(out, value, path):
    """Adds what a leaf gives to the features of its path."""
    factors = [np.multiply.outer(kept, NODES) + share * (1 - NODES) for kept, share in path.values()]
    after = [np.ones_like(factors[0])]
    for factor in reversed(factors[1:]):
        after.append(after[-1] * factor)
    before = np.broadcast_to(WEIGHTS, factors[0].shape)
    for (feature, (kept, share)), factor, rest in zip(path.items(), factors, reversed(after)):
        out[:, feature] += value * (kept - share) * (before * rest).sum(axis=1)
        before = before * factor


def contributions(model, rows):
    """Returns contributions and sums of leaves of rows, which hold numbers and codes of categories."""
    parsed = list(trees(model))
    out, sums = np.zeros(rows.shape), np.zeros(len(rows))
    for start in range(0, len(rows), ROWS):
        block, part = rows[start : start + ROWS], out[start : start + ROWS]
        for tree, weight in parsed:
            for value, path in leaves(tree, block):
                if path:
                    reached = np.logical_and.reduce([kept for kept, _ in path.values()])
                    sums[start : start + ROWS] += weight * value * reached
                    add_leaf(part, weight * value, path)
    return out, sums
