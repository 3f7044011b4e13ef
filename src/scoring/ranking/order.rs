//! The orders of a ranking: total, so that every page begins where the last one ended.

use std::cmp::Ordering;

use crate::error::Error;
use crate::suggest::unknown;
use crate::values::entity_id::IdRef;

/// What customers are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OrderKey {
    /// The score.
    #[default]
    Score,
    /// The score less the one by the previous snapshot.
    Change,
}

/// An order of customers. Equal values are in the order of their ids; the ascending order is the descending one reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// What counts.
    pub key: OrderKey,
    /// Whether the largest comes first.
    pub descending: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            key: OrderKey::Score,
            descending: true,
        }
    }
}

/// Every order by its name.
const ORDERS: [(&str, Order); 4] = [
    ("score desc", order(OrderKey::Score, true)),
    ("score asc", order(OrderKey::Score, false)),
    ("change desc", order(OrderKey::Change, true)),
    ("change asc", order(OrderKey::Change, false)),
];

const fn order(key: OrderKey, descending: bool) -> Order {
    Order { key, descending }
}

impl Order {
    /// The names of the orders.
    pub const NAMES: [&'static str; 4] = [ORDERS[0].0, ORDERS[1].0, ORDERS[2].0, ORDERS[3].0];

    /// Reads the name of an order.
    ///
    /// # Errors
    /// There is no such order.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let found = ORDERS.iter().find(|(name, _)| *name == text);
        found.map(|(_, order)| *order).ok_or_else(|| {
            let known = Self::NAMES.into_iter();
            Error::invalid(format!("order_by: {}", unknown("order", text, known))).about("order_by")
        })
    }

    /// A number that stands for the order in page tokens.
    pub(super) fn code(self) -> u8 {
        u8::from(self.key == OrderKey::Change) * 2 + u8::from(self.descending)
    }

    /// The order of a number.
    pub(super) fn of_code(code: u8) -> Option<Self> {
        ORDERS
            .iter()
            .map(|(_, order)| *order)
            .find(|order| order.code() == code)
    }
}

/// The place of a customer in an order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place<'a> {
    /// The score or the change; `None` for a customer without a change.
    pub(super) value: Option<f64>,
    /// The id.
    pub(super) id: IdRef<'a>,
}

impl Place<'_> {
    /// Compares two places in the descending order: the larger value is before the smaller one, equal values are in the
    /// order of their ids, and customers without a value come last.
    pub(super) fn descending(self, other: Self) -> Ordering {
        let by_value = match (self.value, other.value) {
            // Scores are finite; `total_cmp` would tell 0 from -0.
            (Some(one), Some(other)) => other.partial_cmp(&one).unwrap_or(Ordering::Equal),
            (one, other) => other.is_some().cmp(&one.is_some()),
        };
        by_value.then_with(|| compare_ids(self.id, other.id))
    }

    /// Compares two places in an order. Customers without a value come last in both directions.
    pub(super) fn compare(self, other: Self, descending: bool) -> Ordering {
        match descending || self.value.is_none() || other.value.is_none() {
            true => self.descending(other),
            false => other.descending(self),
        }
    }
}

/// Compares ids: numbers by value, texts by their bytes, numbers first.
pub(super) fn compare_ids(one: IdRef<'_>, other: IdRef<'_>) -> Ordering {
    match (one, other) {
        (IdRef::Int(one), IdRef::Int(other)) => one.cmp(&other),
        (IdRef::Text(one), IdRef::Text(other)) => one.cmp(other),
        (IdRef::Int(_), IdRef::Text(_)) => Ordering::Less,
        (IdRef::Text(_), IdRef::Int(_)) => Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(value: Option<f64>, id: &str) -> Place<'_> {
        Place {
            value,
            id: IdRef::Text(id),
        }
    }

    #[test]
    fn orders_have_names_and_codes() {
        for (name, order) in ORDERS {
            assert_eq!(Order::parse(name).unwrap(), order);
            assert_eq!(Order::of_code(order.code()), Some(order));
        }
        let error = Order::parse("score dsc").unwrap_err();
        assert!(
            error.to_string().contains("did you mean `score desc`?"),
            "{error}"
        );
        assert_eq!((Order::of_code(4), Order::default().code()), (None, 1));
    }

    #[test]
    fn equal_values_are_in_the_order_of_ids_and_no_value_is_last() {
        let mut places = [
            place(None, "a"),
            place(Some(0.0), "c"),
            place(Some(-0.0), "b"),
            place(Some(0.5), "d"),
            place(None, "B"),
        ];
        places.sort_by(|one, other| one.compare(*other, true));
        let ids =
            |places: &[Place<'_>]| -> String { places.iter().map(|place| place.id.to_string()).collect() };
        assert_eq!(ids(&places), "dbcBa");
        places.sort_by(|one, other| one.compare(*other, false));
        assert_eq!(ids(&places), "cbdBa");
        let (one, other) = (IdRef::Int(10), IdRef::Int(9));
        assert_eq!(compare_ids(one, other), Ordering::Greater);
        assert_eq!(compare_ids(IdRef::Text("10"), IdRef::Text("9")), Ordering::Less);
        assert_eq!(compare_ids(one, IdRef::Text("9")), Ordering::Less);
    }
}
