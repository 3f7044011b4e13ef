//! Reads the `data` of a tensor, a flat or nested list of JSON scalars.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::values::json::Scalar;

/// `data` as a flat list, from a nested or a flat one.
#[derive(Debug, Default)]
pub(super) struct FlatData(pub(super) Vec<Scalar>);

/// Maximum nesting depth of `data`; no model has a tensor with more dimensions.
const MAX_DEPTH: usize = 8;

impl<'de> Deserialize<'de> for FlatData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut flat = Vec::new();
        deserializer.deserialize_seq(ListVisitor {
            flat: &mut flat,
            depth: 0,
        })?;
        Ok(Self(flat))
    }
}

/// One level of a nested list.
struct ListVisitor<'a> {
    flat: &'a mut Vec<Scalar>,
    depth: usize,
}

impl<'de> Visitor<'de> for ListVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers or texts, nested or flat")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.depth == MAX_DEPTH {
            return Err(serde::de::Error::custom(format!(
                "data: expected at most {MAX_DEPTH} levels of nesting"
            )));
        }
        while seq
            .next_element_seed(ElementVisitor {
                flat: &mut *self.flat,
                depth: self.depth,
            })?
            .is_some()
        {}
        Ok(())
    }
}

/// A list or a scalar.
struct ElementVisitor<'a> {
    flat: &'a mut Vec<Scalar>,
    depth: usize,
}

impl<'de> serde::de::DeserializeSeed<'de> for ElementVisitor<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ElementVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text, true, false, null or a list of them")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        ListVisitor {
            flat: self.flat,
            depth: self.depth + 1,
        }
        .visit_seq(seq)
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.flat.push(Scalar::Null);
        Ok(())
    }
    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.flat.push(Scalar::Bool(value));
        Ok(())
    }
    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.flat.push(Scalar::Int(value));
        Ok(())
    }
    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.flat
            .push(i64::try_from(value).map_or_else(|_| Scalar::Digits(value.to_string()), Scalar::Int));
        Ok(())
    }
    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.flat.push(Scalar::Float(value));
        Ok(())
    }
    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.flat.push(Scalar::Text(value.to_owned()));
        Ok(())
    }
}
