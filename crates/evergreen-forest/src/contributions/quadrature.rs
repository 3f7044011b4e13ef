//! Gauss-Legendre quadrature on 0..1: `n` nodes integrate polynomials up to degree `2n - 1` exactly, and those of a little
//! higher degree to the precision of `f32`.

use std::f64::consts::PI;

/// The greatest error of an integral, as a part of a leaf: what rounding the leaf to `f32` costs.
const ERROR: f64 = f32::EPSILON as f64 / 2.0;

/// A node with its weight. The weights of a rule add up to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct QuadratureNode {
    /// The node, between 0 and 1, both excluded.
    pub(super) t: f64,
    pub(super) weight: f64,
}

impl QuadratureNode {
    /// Fills up a rule without changing its sums.
    pub(super) const PADDING: Self = Self { t: 0.5, weight: 0.0 };
}

/// Returns the nodes that paths of at most `distinct` features need.
///
/// The integrand is a product of factors `o t + z (1 - t)` with `o` 0 or 1 and `z` from 0 to 1. It is linear in each `z`, so
/// the error is largest where each of them is 0 or 1, that is for powers `t^a (1 - t)^b`, and among these for the highest
/// power of `t`. A rule is taken if that error is at most [`ERROR`]: then all rules of at most 6 nodes are exact.
pub(super) fn node_count(distinct: usize) -> usize {
    let degree = distinct.saturating_sub(1);
    let exact = distinct.div_ceil(2).max(1);
    // The error grows quickly with every node left out.
    let mut count = exact;
    while count > 1 && power_error(&gauss_legendre(count - 1), degree) <= ERROR {
        count -= 1;
    }
    count
}

/// Returns the error of a rule for `t^degree`.
fn power_error(rule: &[QuadratureNode], degree: usize) -> f64 {
    let power = i32::try_from(degree).unwrap_or(i32::MAX);
    let sum: f64 = rule.iter().map(|node| node.weight * node.t.powi(power)).sum();
    (sum - 1.0 / (degree as f64 + 1.0)).abs()
}

/// Returns the rule of `count` nodes, in ascending order.
///
/// The nodes are the roots of the Legendre polynomial, found by Newton's method from the usual first guess
/// (Abramowitz and Stegun, 22.16.6 and 25.4.29).
pub(super) fn gauss_legendre(count: usize) -> Vec<QuadratureNode> {
    let mut rule = Vec::with_capacity(count);
    for at in 0..count {
        let mut x = (PI * (count as f64 - at as f64 - 0.25) / (count as f64 + 0.5)).cos();
        let mut slope = 1.0;
        // Newton's method doubles the digits in each step.
        for _ in 0..8 {
            let (value, derivative) = legendre(count, x);
            slope = derivative;
            x -= value / derivative;
        }
        rule.push(QuadratureNode {
            t: (x + 1.0) / 2.0,
            weight: 1.0 / ((1.0 - x * x) * slope * slope),
        });
    }
    rule
}

/// Returns the value and the derivative of the Legendre polynomial of degree `n` at `x`, which is inside -1..1.
fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut previous, mut value) = (0.0, 1.0);
    for degree in 1..=n {
        let degree = degree as f64;
        let next = ((2.0 * degree - 1.0) * x * value - (degree - 1.0) * previous) / degree;
        (previous, value) = (value, next);
    }
    (value, n as f64 * (x * value - previous) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The integral of `t^a (1 - t)^b`: `a! b! / (a + b + 1)!`.
    fn integral(a: i32, b: i32) -> f64 {
        (1..=b).fold(1.0 / f64::from(a + 1), |value, at| {
            value * f64::from(at) / f64::from(a + 1 + at)
        })
    }

    #[test]
    fn integrates_products_of_factors_to_the_precision_of_a_leaf() {
        let mut fewer = 0;
        for distinct in 1..=60 {
            let count = node_count(distinct);
            assert!(count <= distinct.div_ceil(2));
            fewer += usize::from(count < distinct.div_ceil(2));
            let rule = gauss_legendre(count);
            let degree = i32::try_from(distinct - 1).unwrap();
            for (a, b) in (0..=degree).flat_map(|a| (0..=degree - a).map(move |b| (a, b))) {
                let power = |node: &QuadratureNode| node.weight * node.t.powi(a) * (1.0 - node.t).powi(b);
                let error = (rule.iter().map(power).sum::<f64>() - integral(a, b)).abs();
                assert!(
                    error <= ERROR * 1.001,
                    "{distinct} features, {count} nodes, {a}, {b}: {error:e}"
                );
            }
        }
        assert_eq!((node_count(4), node_count(8), node_count(12)), (2, 4, 6));
        assert!(fewer > 30, "{fewer}");
    }

    #[test]
    fn integrates_powers_exactly_up_to_its_degree() {
        for count in [1, 2, 3, 4, 7, 12, 33, 200] {
            let rule = gauss_legendre(count);
            assert!(rule.windows(2).all(|pair| pair[0].t < pair[1].t), "{count}");
            for power in [0, 1, 2, count, 2 * count - 1] {
                let power = i32::try_from(power)
                    .unwrap()
                    .min(2 * i32::try_from(count).unwrap() - 1);
                let sum: f64 = rule.iter().map(|node| node.weight * node.t.powi(power)).sum();
                let exact = 1.0 / f64::from(power + 1);
                assert!((sum - exact).abs() < 1e-14, "{count} nodes, power {power}: {sum}");
            }
        }
    }
}
