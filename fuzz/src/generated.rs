//! Models that are always valid: every byte goes into shapes, thresholds and rows, where the kernels differ.

use evergreen_forest::Format;
use serde_json::{Value, json};

use crate::input::Input;
use crate::models::agree;
use crate::quick;

/// Thresholds and values that meet: a comparison is decided by the last bit.
const NUMBERS: [f32; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.000_000_1,
    0.999_999_94,
    f32::MIN_POSITIVE,
    1e-45,
    3.0e9,
    f32::MAX,
    f32::MIN,
];

/// Values of rows beside those.
const OTHERS: [f32; 4] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.5];

/// Most inner nodes of a tree.
const SPLITS: usize = 40;

/// Builds a model and rows from `bytes`, and compares the margins of every kernel with those of the reference.
pub fn kernels_agree(bytes: &[u8]) {
    let mut input = Input(bytes);
    let features = 1 + input.below(9);
    let classes = [1, 1, 1, 3][input.below(4)];
    let rounds = [4, 4, 4, 4, 4, 4, 4, 40][input.below(8)];
    let trees = classes * (1 + input.below(rounds));
    let trees: Vec<Value> = (0..trees).map(|id| tree(&mut input, id, features)).collect();
    let model = model(&trees, features, classes).to_string();
    // A full block of the kernels, and parts of one.
    let most_rows = [9, 9, 9, 130][input.below(4)];
    let rows = 1 + input.below(most_rows);
    let values: Vec<f32> = (0..rows * features).map(|_| value(&mut input)).collect();
    quick(bytes, || agree(model.as_bytes(), Format::XgBoost, &values, rows));
}

fn number(input: &mut Input<'_>) -> f32 {
    match input.below(NUMBERS.len() + 4) {
        at if at < NUMBERS.len() => NUMBERS[at],
        _ => Some(f32::from_le_bytes(input.bytes()))
            .filter(|number| number.is_finite())
            .unwrap_or(2.0),
    }
}

fn value(input: &mut Input<'_>) -> f32 {
    match input.below(8) {
        at if at < OTHERS.len() => OTHERS[at],
        _ => number(input),
    }
}

/// A tree: one leaf becomes an inner node after the other.
fn tree(input: &mut Input<'_>, id: usize, features: usize) -> Value {
    let splits = input.below(SPLITS);
    let nodes = 2 * splits + 1;
    let mut left = vec![-1; nodes];
    let mut right = vec![-1; nodes];
    let mut parents = vec![i64::from(i32::MAX); nodes];
    let mut leaves = vec![0];
    for split in 0..splits {
        // Deep trees are as frequent as wide ones.
        let deep = input.below(2) == 0;
        let at = if deep {
            leaves.len() - 1
        } else {
            input.below(leaves.len())
        };
        let node = leaves.swap_remove(at);
        let children = [2 * split + 1, 2 * split + 2];
        (left[node], right[node]) = (children[0] as i64, children[1] as i64);
        for child in children {
            parents[child] = node as i64;
            leaves.push(child);
        }
    }
    let conditions: Vec<f32> = left
        .iter()
        .map(|&child| match number(input) {
            // The sum of leaves stays finite.
            leaf if child < 0 && leaf.abs() > 1e6 => 0.25,
            number => number,
        })
        .collect();
    let flags: Vec<usize> = (0..nodes).map(|_| input.below(2)).collect();
    let indices: Vec<usize> = (0..nodes).map(|_| input.below(features)).collect();
    json!({
        "base_weights": vec![0.0; nodes], "categories": [], "categories_nodes": [], "categories_segments": [],
        "categories_sizes": [], "default_left": flags, "id": id, "left_children": left, "loss_changes": vec![1.0; nodes],
        "parents": parents, "right_children": right, "split_conditions": conditions, "split_indices": indices,
        "split_type": vec![0; nodes], "sum_hessian": vec![1.0; nodes],
        "tree_param": {"num_deleted": "0", "num_feature": features.to_string(), "num_nodes": nodes.to_string(),
            "size_leaf_vector": "1"},
    })
}

fn model(trees: &[Value], features: usize, classes: usize) -> Value {
    let groups: Vec<usize> = (0..trees.len()).map(|tree| tree % classes).collect();
    let rounds: Vec<usize> = (0..=trees.len() / classes).map(|round| round * classes).collect();
    let objective = if classes == 1 {
        json!({"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}})
    } else {
        json!({"name": "multi:softprob", "softmax_multiclass_param": {"num_class": classes.to_string()}})
    };
    json!({
        "learner": {
            "attributes": {}, "feature_names": [], "feature_types": [],
            "gradient_booster": {"name": "gbtree", "model": {
                "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
                "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": trees.len().to_string()},
                "iteration_indptr": rounds, "tree_info": groups, "trees": trees,
            }},
            "learner_model_param": {"base_score": "[5E-1]", "boost_from_average": "1",
                "num_class": if classes == 1 { 0 } else { classes }.to_string(),
                "num_feature": features.to_string(), "num_target": "1"},
            "objective": objective,
        },
        "version": [3, 2, 0],
    })
}

#[cfg(test)]
mod tests {
    use evergreen_forest::{Forest, LoadOptions};

    use super::*;

    #[test]
    fn models_are_valid() {
        for seed in 0..64u8 {
            let bytes: Vec<u8> = (0..600u32)
                .map(|at| (at * 2_654_435_761 >> 13) as u8 ^ seed)
                .collect();
            let mut input = Input(&bytes);
            for classes in [1, 3] {
                let trees: Vec<Value> = (0..classes).map(|id| tree(&mut input, id, 3)).collect();
                let model = model(&trees, 3, classes).to_string();
                Forest::from_bytes(model.as_bytes(), &LoadOptions::default()).expect(&model);
            }
        }
    }
}
