//! Rank correlation: whether two versions agree about who is more at risk than whom.

/// Spearman's rank correlation of pairs of scores: Pearson's correlation of their ranks, with the mean rank for equal scores
/// (C. Spearman, 1904). 1 if both order everyone alike, 0 if they have nothing in common. If one side does not tell anyone
/// apart, 1 if the other does not either, else 0. `None` for fewer than two pairs.
pub fn correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 2 {
        return None;
    }
    let a = ranks(pairs.iter().map(|pair| pair.0).collect());
    let b = ranks(pairs.iter().map(|pair| pair.1).collect());
    #[expect(clippy::cast_precision_loss, reason = "a number of customers")]
    let mean = (pairs.len() as f64 + 1.0) / 2.0;
    let product =
        |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum() };
    let (both, one, other) = (product(&a, &b), product(&a, &a), product(&b, &b));
    Some(match (one > 0.0, other > 0.0) {
        (true, true) => both / (one * other).sqrt(),
        (false, false) => 1.0,
        _ => 0.0,
    })
}

/// The rank of each value, from 1; equal values share the mean of their ranks.
fn ranks(values: Vec<f64>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while let Some(&first) = order.get(start) {
        let equal = order[start..]
            .iter()
            .take_while(|&&at| values[at] == values[first])
            .count();
        #[expect(clippy::cast_precision_loss, reason = "a number of customers")]
        let rank = start as f64 + (equal as f64 + 1.0) / 2.0;
        order[start..start + equal]
            .iter()
            .for_each(|&at| ranks[at] = rank);
        start += equal;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_compared_and_not_the_scores() {
        let of = |pairs: &[(f64, f64)]| correlation(pairs).unwrap();
        assert_eq!(of(&[(0.1, 5.0), (0.2, 50.0), (0.9, 51.0)]), 1.0);
        assert_eq!(of(&[(0.1, 3.0), (0.2, 2.0), (0.9, 1.0)]), -1.0);
        // scipy.stats.spearmanr([1, 2, 2, 4, 5], [3, 1, 4, 4, 9]).statistic
        let pairs = [(1.0, 3.0), (2.0, 1.0), (2.0, 4.0), (4.0, 4.0), (5.0, 9.0)];
        assert!(
            (of(&pairs) - 0.763_157_894_736_842_1).abs() < 1e-12,
            "{}",
            of(&pairs)
        );
        assert_eq!(of(&[(0.5, 0.1), (0.5, 0.2)]), 0.0, "one side is constant");
        assert_eq!(of(&[(0.5, 0.1), (0.5, 0.1)]), 1.0, "both are");
        assert_eq!(correlation(&[(0.5, 0.1)]), None);
    }
}
