//! Gauss-Legendre quadrature on 0..1: `n` nodes integrate polynomials up to degree `2n - 1` exactly.

use std::f64::consts::PI;

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
