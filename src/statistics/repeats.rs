//! How many scores a customer has on average, in bounded memory: counted for the customers with the smallest hashes, which
//! are a random sample (bottom-k sampling; Cohen and Kaplan, 2007).

use std::collections::BTreeMap;

use super::number;

/// Customers that are counted.
const KEPT: usize = 1024;

/// Counts the scores of a sample of customers. A customer of the sample has been in it from the first score on, so its count
/// is exact.
#[derive(Clone, Debug, Default)]
pub struct RepeatCount {
    smallest: BTreeMap<u64, u64>,
}

impl RepeatCount {
    /// Adds a score of the customer with this hash, which must be uniform over all 64 bits.
    pub fn add(&mut self, customer: u64) {
        let full = self.smallest.len() >= KEPT;
        if full
            && self
                .smallest
                .last_key_value()
                .is_some_and(|(&largest, _)| customer > largest)
        {
            return;
        }
        *self.smallest.entry(customer).or_default() += 1;
        if self.smallest.len() > KEPT {
            self.smallest.pop_last();
        }
    }

    /// By how much repeated scores widen intervals (the design effect for scores that agree, Σm² / Σm over the customers with m
    /// scores each), at least 1. Exact for up to 1,024 customers.
    pub fn design_effect(&self) -> f64 {
        let scores: u64 = self.smallest.values().sum();
        let squares: u64 = self.smallest.values().map(|scores| scores * scores).sum();
        match scores {
            0 => 1.0,
            scores => number(squares) / number(scores),
        }
    }

    /// Scores per customer, at least 1. Exact for up to 1,024 customers, and if all have as many scores.
    pub fn scores_per_customer(&self) -> f64 {
        let scores: u64 = self.smallest.values().sum();
        match self.smallest.len() {
            0 => 1.0,
            customers => number(scores) / number(customers as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_exactly_while_few_or_alike_and_within_a_twentieth_otherwise() {
        let mut random = fastrand::Rng::with_seed(7);
        let customers: Vec<u64> = (0..50_000).map(|_| random.u64(..)).collect();
        let (mut once, mut few, mut mixed) = (
            RepeatCount::default(),
            RepeatCount::default(),
            RepeatCount::default(),
        );
        for (position, &customer) in customers.iter().enumerate() {
            once.add(customer);
            // One to three scores, two on average.
            (0..=position % 3).for_each(|_| mixed.add(customer));
            few.add(customers[position % 500]);
        }
        assert_eq!(once.scores_per_customer(), 1.0);
        assert_eq!(few.scores_per_customer(), 100.0);
        assert!(
            (1.9..2.1).contains(&mixed.scores_per_customer()),
            "{}",
            mixed.scores_per_customer()
        );
        assert_eq!(RepeatCount::default().scores_per_customer(), 1.0);
        assert_eq!(RepeatCount::default().design_effect(), 1.0);
        assert_eq!((once.design_effect(), few.design_effect()), (1.0, 100.0));
        // A thousand customers with one score, and twenty with 52: few of the scores are independent.
        let mut unequal = RepeatCount::default();
        for customer in 0..1020 {
            let scores = if customer < 1000 { 1 } else { 52 };
            (0..scores).for_each(|_| unequal.add(customer));
        }
        let expected = (1000.0 + 20.0 * 52.0 * 52.0) / (1000.0 + 20.0 * 52.0);
        assert!((unequal.design_effect() - expected).abs() < 1e-9);
    }
}
