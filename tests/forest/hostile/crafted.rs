//! Corrupted files that random mutation would not find, one fault each.

use super::{rejected, seed, survive};

/// Replaces the first occurrence, which must exist.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in the seed");
    text.replacen(from, to, 1)
}

/// Replaces the last occurrence: trees have parameters with the names of model parameters, which come first.
fn replaced_last(text: &str, from: &str, to: &str) -> String {
    let at = text
        .rfind(from)
        .unwrap_or_else(|| panic!("{from} is not in the seed"));
    format!("{}{to}{}", &text[..at], &text[at + from.len()..])
}

#[test]
fn the_seeds_load() {
    for (name, bytes) in super::seeds() {
        survive(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_cycle_is_rejected() {
    let error = rejected(
        replaced(
            &seed("json/logistic.json"),
            "\"left_children\":[1,",
            "\"left_children\":[0,",
        )
        .as_bytes(),
    );
    assert!(error.contains("reached twice"), "{error}");
    assert!(error.contains("trees[0]"), "{error}");
}

#[test]
fn a_child_out_of_range_is_reported() {
    let text = replaced(
        &seed("json/logistic.json"),
        "\"left_children\":[1,",
        "\"left_children\":[4096,",
    );
    assert!(rejected(text.as_bytes()).contains("node 4096"));
    let text = replaced(&seed("lightgbm/binary.txt"), "left_child=", "left_child=9");
    assert!(rejected(text.as_bytes()).contains("Tree=0"));
}

#[test]
fn a_feature_out_of_range_is_reported() {
    let text = replaced(
        &seed("json/logistic.json"),
        "\"split_indices\":[",
        "\"split_indices\":[7",
    );
    let error = rejected(text.as_bytes());
    assert!(
        error.contains("feature 7") && error.contains("trees[0]"),
        "{error}"
    );
}

/// Found by fuzzing: vector leaves were added from the tree's group on, past the last group.
#[test]
fn the_group_of_a_vector_leaf_is_ignored() {
    let text = replaced(
        &seed("json/vector.json"),
        "\"tree_info\":[0,0]",
        "\"tree_info\":[0,1]",
    );
    survive(text.as_bytes()).unwrap();
}

#[test]
fn implausible_sizes_are_rejected() {
    for (from, to) in [
        ("\"num_feature\":\"3\"", "\"num_feature\":\"4000000000\""),
        ("\"num_class\":\"0\"", "\"num_class\":\"4000000000\""),
        ("\"num_target\":\"1\"", "\"num_target\":\"18446744073709551615\""),
        ("\"num_nodes\":\"", "\"num_nodes\":\"9"),
        (
            "\"size_leaf_vector\":\"1\"",
            "\"size_leaf_vector\":\"4294967295\"",
        ),
    ] {
        rejected(replaced_last(&seed("json/logistic.json"), from, to).as_bytes());
    }
    rejected(replaced(&seed("lightgbm/binary.txt"), "num_leaves=", "num_leaves=99999999").as_bytes());
    rejected(
        replaced(
            &seed("lightgbm/binary.txt"),
            "max_feature_idx=",
            "max_feature_idx=99999999",
        )
        .as_bytes(),
    );
}

#[test]
fn a_counted_array_longer_than_the_file_is_rejected() {
    // An object whose member is an array of 2^40 doubles.
    let bytes = b"{L\0\0\0\0\0\0\0\x07version[$D#L\0\0\x01\0\0\0\0\0";
    let error = rejected(bytes);
    assert!(
        error.contains("announces") && error.contains("version"),
        "{error}"
    );
    // Elements that take no bytes.
    rejected(b"{L\0\0\0\0\0\0\0\x07version[$Z#L\0\0\0\0\0\0\0\x01");
}

#[test]
fn deep_nesting_is_rejected() {
    for open in ["[", "{\"a\":"] {
        let text = format!("{{\"learner\":{{\"x\":{}", open.repeat(1_000_000));
        let error = rejected(text.as_bytes());
        assert!(error.contains("nested"), "{error}");
    }
    let mut bytes = b"{L\0\0\0\0\0\0\0\x01a".to_vec();
    bytes.resize(1_000_000, b'[');
    let error = rejected(&bytes);
    assert!(error.contains("nested"), "{error}");
    let text = replaced(
        &seed("catboost/nested.json"),
        "\"trees\": [",
        &format!("\"trees\": [{}", "{\"left\":".repeat(100_000)),
    );
    let error = rejected(text.as_bytes());
    assert!(error.contains("nested"), "{error}");
}

#[test]
fn overlapping_categories_are_rejected() {
    let text = seed("json/category.json");
    let start = text.find("\"categories_sizes\":[").unwrap() + "\"categories_sizes\":[".len();
    let text = format!("{}9{}", &text[..start], &text[start..]);
    assert!(rejected(text.as_bytes()).contains("categories"));
}

#[test]
fn numbers_that_are_not_finite_are_rejected() {
    for base in ["NaN", "[NaN]", "[5E-1,5E-1]", "five"] {
        let text = seed("json/logistic.json");
        let start = text.find("\"base_score\":\"").unwrap() + "\"base_score\":\"".len();
        let end = start + text[start..].find('"').unwrap();
        let error = rejected(format!("{}{base}{}", &text[..start], &text[end..]).as_bytes());
        assert!(error.contains("base_score"), "{error}");
    }
    let error = rejected(replaced(&seed("lightgbm/binary.txt"), "leaf_value=", "leaf_value=nan").as_bytes());
    assert!(
        error.contains("leaf_value") || error.contains("not finite") || error.contains("number"),
        "{error}"
    );
}

#[test]
fn other_formats_are_rejected_with_a_remedy() {
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b"binf\0\0\0\0", ".ubj"),
        (b"CBM1\0\0\0\0", "json"),
        (b"\x80\x05\x95", "pickle"),
        (b"PK\x03\x04", "zip"),
        (b"\0\0\0\x3f\x05\0\0\0", "expected XGBoost"),
        (b"{\"some\": [1, 2]}", "expected XGBoost"),
        (b"[1, 2]", "expected XGBoost"),
    ] {
        let error = rejected(bytes);
        assert!(error.contains(word), "{error}");
    }
    let linear = replaced(
        &seed("json/logistic.json"),
        "\"name\":\"gbtree\"",
        "\"name\":\"gblinear\"",
    );
    assert!(rejected(linear.as_bytes()).contains("gblinear"));
    let custom = replaced(&seed("json/logistic.json"), "binary:logistic", "my:objective");
    assert!(rejected(custom.as_bytes()).contains("my:objective"));
}

#[test]
fn unsupported_catboost_features_are_reported() {
    let text = replaced(
        &seed("catboost/symmetric.json"),
        "\"float_features\"",
        "\"ctrs\": [{\"elements\": [{\"cat_feature_index\": 0, \"combination_element\": \"cat_feature_value\"}]}], \
         \"text_features\": [{\"feature_id\": \"complaint\", \"flat_feature_index\": 9}], \"float_features\"",
    );
    let error = rejected(text.as_bytes());
    assert!(
        error.contains("`text`") && error.contains("`complaint`"),
        "{error}"
    );
}
