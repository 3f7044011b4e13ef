//! Ids in a column of PostgreSQL: the array that a query takes, and the spelling of the ids that come back.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::Statement;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::values::entity_id::EntityId;

/// A UUID as its 16 bytes.
#[derive(Debug)]
struct Uuid([u8; 16]);

/// A whole number as `numeric`, of up to 38 digits.
#[derive(Debug)]
struct Numeric(i128);

impl Uuid {
    /// Reads a UUID in the spellings that PostgreSQL takes: any case, with or without hyphens and braces.
    fn parse(text: &str) -> Option<Self> {
        let text = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
            .unwrap_or(text);
        let digits: String = text.chars().filter(|&letter| letter != '-').collect();
        let valid = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| valid)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl Numeric {
    fn parse(id: &EntityId) -> Option<Self> {
        match id {
            EntityId::Int(id) => Some(Self((*id).into())),
            // As the column prints it: "007" is no number's text.
            EntityId::Text(id) => id
                .parse()
                .ok()
                .filter(|number: &i128| number.to_string() == *id)
                .map(Self),
        }
    }
}

impl ToSql for Uuid {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::UUID
    }

    to_sql_checked!();
}

impl ToSql for Numeric {
    /// Four 16-bit words (number of groups, weight of the first, sign, digits after the point), then the groups of four
    /// digits.
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let mut groups = Vec::new();
        let mut left = self.0.unsigned_abs();
        while left > 0 {
            groups.push(u16::try_from(left % 10_000)?);
            left /= 10_000;
        }
        out.put_u16(u16::try_from(groups.len())?);
        out.put_i16(i16::try_from(groups.len())? - 1);
        out.put_u16(if self.0 < 0 { 0x4000 } else { 0 });
        out.put_u16(0);
        groups.iter().rev().for_each(|&group| out.put_u16(group));
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::NUMERIC
    }

    to_sql_checked!();
}

/// The ids as the array that the query takes. Ids that the column cannot hold are left out: no row has them.
///
/// # Errors
/// The query does not take one array of ids.
pub(super) fn parameter(
    statement: &Statement,
    ids: &[EntityId],
) -> Result<Box<dyn ToSql + Sync + Send>, String> {
    fn whole<T: TryFrom<i64>>(ids: &[EntityId]) -> Vec<T> {
        let number = |id: &EntityId| match id {
            EntityId::Int(id) => T::try_from(*id).ok(),
            EntityId::Text(_) => None,
        };
        ids.iter().filter_map(number).collect()
    }
    match statement.params() {
        [Type::INT8_ARRAY] => Ok(Box::new(whole::<i64>(ids))),
        [Type::INT4_ARRAY] => Ok(Box::new(whole::<i32>(ids))),
        [Type::INT2_ARRAY] => Ok(Box::new(whole::<i16>(ids))),
        [Type::NUMERIC_ARRAY] => {
            let numbers = ids.iter().filter_map(Numeric::parse);
            Ok(Box::new(numbers.collect::<Vec<_>>()))
        }
        [Type::UUID_ARRAY] => {
            let uuids = ids.iter().filter_map(|id| Uuid::parse(&id.to_string()));
            Ok(Box::new(uuids.collect::<Vec<_>>()))
        }
        [Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY] => Ok(Box::new(
            ids.iter().map(EntityId::to_string).collect::<Vec<String>>(),
        )),
        [other] => Err(format!(
            "the query takes {other}; expected an array of whole numbers, texts or UUIDs; cast the column to text"
        )),
        others => Err(format!(
            "the query takes {} parameters; expected one, the array of ids",
            others.len()
        )),
    }
}

/// One spelling for all that a column of type `kind` holds to be the same id: `char(n)` is padded with blanks, and a UUID has
/// several spellings.
pub(super) fn spelling(id: &str, kind: &Type) -> EntityId {
    let text = match *kind {
        Type::BPCHAR => id.trim_end_matches(' ').to_owned(),
        Type::UUID => match Uuid::parse(id) {
            Some(Uuid(bytes)) => format!("{:032x}", u128::from_be_bytes(bytes)),
            None => id.to_owned(),
        },
        _ => id.to_owned(),
    };
    EntityId::Text(text).canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let uuid = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";
        assert_eq!(
            spelling(uuid, &Type::UUID),
            spelling(&format!("{{{}}}", uuid.to_lowercase()), &Type::UUID)
        );
        assert_eq!(
            spelling("C-1       ", &Type::BPCHAR),
            spelling("C-1", &Type::BPCHAR)
        );
        assert_ne!(spelling("C-1 ", &Type::TEXT), spelling("C-1", &Type::TEXT));
        assert_eq!(spelling("42", &Type::NUMERIC), EntityId::Int(42));
        assert!(Uuid::parse("x").is_none() && Uuid::parse(&"z".repeat(32)).is_none());
    }

    #[test]
    fn numerics_are_written_in_groups_of_four_digits() {
        for (number, words) in [
            (0i128, &[0u16, 0xffff, 0, 0][..]),
            (120_000, &[2, 1, 0, 0, 12, 0]),
            (-42, &[1, 0, 0x4000, 0, 42]),
            (123_456_789, &[3, 2, 0, 0, 1, 2345, 6789]),
            (
                123_456_789_012_345_678_901,
                &[6, 5, 0, 0, 1, 2345, 6789, 123, 4567, 8901],
            ),
        ] {
            let mut out = BytesMut::new();
            Numeric(number).to_sql(&Type::NUMERIC, &mut out).unwrap();
            let expected: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            assert_eq!(&out[..], expected, "{number}");
        }
    }
}
