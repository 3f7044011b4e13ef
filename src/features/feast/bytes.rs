//! Feast's serialization of entity keys, hash fields and values. Tested against Feast 0.67.

use prost::{Message, Oneof};

use crate::values::cell::Cell;
use crate::values::entity_id::EntityId;

/// The types of a join key, as Feast numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyType {
    Text = 2,
    Int32 = 3,
    Int64 = 4,
}

impl KeyType {
    /// The type for Feast's number.
    ///
    /// # Errors
    /// Ids cannot have that type.
    pub(super) fn of(number: i32) -> Result<Self, String> {
        match number {
            2 => Ok(Self::Text),
            3 => Ok(Self::Int32),
            4 => Ok(Self::Int64),
            other => Err(format!(
                "join key: expected a string, int32 or int64, found Feast's type {other}"
            )),
        }
    }
}

/// Writes entity keys.
#[derive(Debug)]
pub(super) struct KeyWriter {
    /// The bytes before the value.
    head: Vec<u8>,
    kind: KeyType,
}

impl KeyWriter {
    /// Creates a writer for one join key, in serialization version 2 or 3.
    pub(super) fn new(join_key: &str, kind: KeyType, version: u8) -> Self {
        let mut head = Vec::new();
        if version > 2 {
            word(&mut head, 1);
        }
        word(&mut head, KeyType::Text as u32);
        if version > 2 {
            length(&mut head, join_key.len());
        }
        head.extend(join_key.as_bytes());
        word(&mut head, kind as u32);
        Self { head, kind }
    }

    /// Whether ids are whole numbers.
    pub(super) fn is_whole(&self) -> bool {
        self.kind != KeyType::Text
    }

    /// The key of an entity; `None` for an id that the type cannot hold, which no entity has.
    pub(super) fn write(&self, id: &EntityId) -> Option<Vec<u8>> {
        let mut key = self.head.clone();
        let mut value = |bytes: &[u8]| {
            length(&mut key, bytes.len());
            key.extend(bytes);
        };
        match (self.kind, id) {
            (KeyType::Text, id) => value(id.to_string().as_bytes()),
            (KeyType::Int32, EntityId::Int(id)) => value(&i32::try_from(*id).ok()?.to_le_bytes()),
            (KeyType::Int64, EntityId::Int(id)) => value(&id.to_le_bytes()),
            (KeyType::Int32 | KeyType::Int64, EntityId::Text(_)) => return None,
        }
        Some(key)
    }
}

fn word(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

fn length(out: &mut Vec<u8>, length: usize) {
    word(out, u32::try_from(length).unwrap_or(u32::MAX));
}

/// The name of a feature's field in a Redis hash.
pub(super) fn field(view: &str, feature: &str) -> [u8; 4] {
    murmur3(format!("{view}:{feature}").as_bytes()).to_le_bytes()
}

/// MurmurHash3 x86 32 with seed 0 (Austin Appleby, public domain). A dozen lines that never change need no dependency.
fn murmur3(bytes: &[u8]) -> u32 {
    let mix = |block: u32| {
        block
            .wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593)
    };
    let mut blocks = bytes.chunks_exact(4);
    let mut hash = 0u32;
    for block in &mut blocks {
        let block = block
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u32::from(byte));
        hash = (hash ^ mix(block))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    let tail = blocks
        .remainder()
        .iter()
        .rev()
        .fold(0, |word, &byte| word << 8 | u32::from(byte));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the algorithm takes the length modulo 2^32"
    )]
    let length = bytes.len() as u32;
    hash ^= mix(tail) ^ length;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// `feast.types.Value`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 19")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(bytes = "vec", tag = "1")]
    Bytes(Vec<u8>),
    #[prost(string, tag = "2")]
    Text(String),
    #[prost(int32, tag = "3")]
    Int32(i32),
    #[prost(int64, tag = "4")]
    Int64(i64),
    #[prost(double, tag = "5")]
    Double(f64),
    #[prost(float, tag = "6")]
    Float(f32),
    #[prost(bool, tag = "7")]
    Bool(bool),
    #[prost(int64, tag = "8")]
    UnixTimestamp(i64),
    #[prost(int32, tag = "19")]
    Null(i32),
}

impl Value {
    /// Reads a value.
    ///
    /// # Errors
    /// The bytes are not a value, or hold a list.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let value = Self::decode(bytes).map_err(|error| format!("not a Feast value: {error}"))?;
        if value.kind.is_none() && !bytes.is_empty() {
            return Err("expected one value, found a list".to_owned());
        }
        Ok(value)
    }

    /// Converts the value to a cell.
    ///
    /// # Errors
    /// No feature has its type.
    pub(super) fn cell(&self) -> Result<Cell<'_>, String> {
        Ok(match &self.kind {
            None | Some(Kind::Null(_)) => Cell::Null,
            Some(Kind::Text(text)) => Cell::Text(text),
            Some(Kind::Int32(value)) => Cell::Int((*value).into()),
            Some(Kind::Int64(value)) => Cell::Int(*value),
            Some(Kind::Double(value)) => Cell::Float(*value),
            Some(Kind::Float(value)) => Cell::Float((*value).into()),
            Some(Kind::Bool(value)) => Cell::Bool(*value),
            // NaT of pandas, which Feast materializes as this number.
            Some(Kind::UnixTimestamp(i64::MIN)) => Cell::Null,
            Some(Kind::UnixTimestamp(seconds)) => {
                Cell::Time(seconds.checked_mul(1_000_000).ok_or("a timestamp out of range")?)
            }
            Some(Kind::Bytes(_)) => return Err("expected one value, found bytes".to_owned()),
        })
    }
}

/// `google.protobuf.Timestamp`, in seconds since the Unix epoch.
pub(super) fn timestamp(bytes: &[u8]) -> Option<f64> {
    let Timestamp { seconds, nanos } = Timestamp::decode(bytes).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "an instant")]
    Some(seconds as f64 + f64::from(nanos) / 1e9)
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_are_feasts() {
        let key = |kind, version, id| hex(&KeyWriter::new("customer_id", kind, version).write(&id).unwrap());
        let int = "01000000020000000b000000637573746f6d65725f69640400000008000000e903000000000000";
        let text = "01000000020000000b000000637573746f6d65725f69640200000004000000432d3432";
        assert_eq!(key(KeyType::Int64, 3, EntityId::Int(1001)), int);
        // By Feast 0.40.1; later releases no longer write version 2.
        let old = "02000000637573746f6d65725f69640400000008000000fdffffffffffffff";
        assert_eq!(key(KeyType::Int64, 2, EntityId::Int(-3)), old);
        let old = "02000000637573746f6d65725f69640200000006000000432d31303432";
        assert_eq!(key(KeyType::Text, 2, EntityId::Text("C-1042".to_owned())), old);
        assert_eq!(key(KeyType::Text, 3, EntityId::Text("C-42".to_owned())), text);
        let none = KeyWriter::new("customer_id", KeyType::Int64, 3).write(&EntityId::Text("C-42".to_owned()));
        assert_eq!(none, None);
    }

    #[test]
    fn fields_and_values_are_feasts() {
        assert_eq!(hex(&field("customer_stats", "tenure_months")), "01cf5482");
        for (bytes, expected) in [
            (&[0x29, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f][..], Cell::Float(0.5)),
            (&[0x20, 0x0c], Cell::Int(12)),
            (&[0x12, 2, 0x61, 0x62], Cell::Text("ab")),
            (&[0x38, 0], Cell::Bool(false)),
            (&[0x98, 1, 0], Cell::Null),
            (&[], Cell::Null),
        ] {
            assert_eq!(Value::read(bytes).unwrap().cell(), Ok(expected));
        }
        // A list of int64.
        assert!(Value::read(&[0x72, 2, 0x0a, 0]).is_err());
        assert!(Value::read(&[0xff]).is_err());
        assert_eq!(timestamp(&[0x08, 0x80, 0xe2, 0xcf, 0xaa, 0x06]), Some(1.7e9));
    }
}
