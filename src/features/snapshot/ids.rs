//! The index from id to row: the ids are stored end to end in one text (or as integers), and the index holds row numbers
//! only.

use std::hash::{BuildHasher as _, BuildHasherDefault};

use crate::values::entity_id::EntityId;
use crate::values::entity_id::IdRef;
use hashbrown::HashTable;
use rustc_hash::FxHasher;

/// The ids of all rows, in row order, and their index.
#[derive(Debug)]
pub(super) struct IdIndex {
    keys: IdKeys,
    index: HashTable<u32>,
}

#[derive(Debug)]
enum IdKeys {
    /// Texts end to end, and where each ends.
    Text {
        bytes: String,
        ends: Vec<u32>,
    },
    Int(Vec<i64>),
}

fn hash(id: IdRef<'_>) -> u64 {
    let hasher = BuildHasherDefault::<FxHasher>::default();
    match id {
        IdRef::Text(id) => hasher.hash_one(id),
        IdRef::Int(id) => hasher.hash_one(id),
    }
}

impl IdKeys {
    fn get(&self, row: usize) -> Option<IdRef<'_>> {
        match self {
            Self::Int(ids) => ids.get(row).copied().map(IdRef::Int),
            Self::Text { bytes, ends } => {
                let end = *ends.get(row)? as usize;
                let start = row
                    .checked_sub(1)
                    .and_then(|before| ends.get(before))
                    .map_or(0, |&end| end as usize);
                bytes.get(start..end).map(IdRef::Text)
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Int(ids) => ids.len(),
            Self::Text { ends, .. } => ends.len(),
        }
    }

    fn push(&mut self, id: IdRef<'_>) -> Result<(), String> {
        const FULL: &str = "more than 4 GiB of ids or 2^32 rows";
        match (&mut *self, id) {
            (Self::Int(ids), IdRef::Int(id)) => ids.push(id),
            (Self::Text { bytes, ends }, IdRef::Text(id)) => {
                bytes.push_str(id);
                ends.push(u32::try_from(bytes.len()).map_err(|_| FULL)?);
            }
            // Files of one folder may differ in type; the first row decides.
            (Self::Text { .. }, IdRef::Int(id)) => return self.push(IdRef::Text(&id.to_string())),
            (Self::Int(_), IdRef::Text(_)) => return Err("expected an integer id, found a text".to_owned()),
        }
        Ok(())
    }
}

impl IdIndex {
    pub(super) fn with_capacity(rows: usize) -> Self {
        let keys = IdKeys::Text {
            bytes: String::new(),
            ends: Vec::with_capacity(rows),
        };
        Self {
            keys,
            index: HashTable::with_capacity(rows),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn get_ref(&self, row: usize) -> Option<IdRef<'_>> {
        self.keys.get(row)
    }

    pub(super) fn get(&self, row: usize) -> Option<EntityId> {
        Some(match self.keys.get(row)? {
            IdRef::Text(id) => EntityId::Text(id.to_owned()),
            IdRef::Int(id) => EntityId::Int(id),
        })
    }

    pub(super) fn find(&self, id: IdRef<'_>) -> Option<usize> {
        match (&self.keys, id) {
            (IdKeys::Int(_), IdRef::Text(text)) => {
                // Compare the digits: "007" is not 7.
                let number: i64 = text.parse().ok()?;
                let mut digits = Digits::default();
                (digits.of(number) == text)
                    .then(|| self.row(IdRef::Int(number)))
                    .flatten()
            }
            (IdKeys::Text { .. }, IdRef::Int(number)) => self.row(IdRef::Text(Digits::default().of(number))),
            (_, id) => self.row(id),
        }
    }

    fn row(&self, id: IdRef<'_>) -> Option<usize> {
        let found = self
            .index
            .find(hash(id), |&row| self.keys.get(row as usize) == Some(id));
        found.map(|&row| row as usize)
    }

    /// Adds the next row's id.
    pub(super) fn insert(&mut self, id: IdRef<'_>) -> Result<(), String> {
        if let (0, IdRef::Int(_), IdKeys::Text { ends, .. }) = (self.len(), id, &self.keys) {
            self.keys = IdKeys::Int(Vec::with_capacity(ends.capacity()));
        }
        if let Some(first) = self.find(id) {
            return Err(format!("the id is duplicated; first seen in row {}", first + 1));
        }
        let row = u32::try_from(self.len()).map_err(|_| "more than 2^32 rows")?;
        self.keys.push(id)?;
        let keys = &self.keys;
        let rehash = |&row: &u32| keys.get(row as usize).map_or(0, hash);
        let hash = keys.get(row as usize).map_or(0, hash);
        self.index.insert_unique(hash, row, rehash);
        Ok(())
    }

    pub(super) fn size_bytes(&self) -> usize {
        let keys = match &self.keys {
            IdKeys::Int(ids) => ids.capacity() * size_of::<i64>(),
            IdKeys::Text { bytes, ends } => bytes.capacity() + ends.capacity() * size_of::<u32>(),
        };
        keys + self.index.allocation_size()
    }
}

/// The decimal digits of an integer without an allocation: 20 bytes hold any `i64`.
#[derive(Default)]
struct Digits {
    bytes: [u8; 20],
    length: usize,
}

impl Digits {
    fn of(&mut self, number: i64) -> &str {
        use std::io::Write as _;
        let room = self.bytes.len();
        let mut rest = self.bytes.as_mut_slice();
        // 20 bytes are enough, so the write cannot fail.
        let _ = write!(rest, "{number}");
        self.length = room - rest.len();
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_as_text_and_as_number() {
        let mut texts = IdIndex::with_capacity(2);
        texts.insert(IdRef::Text("C-7")).unwrap();
        texts.insert(IdRef::Text("42")).unwrap();
        assert_eq!(texts.find(IdRef::Text("C-7")), Some(0));
        assert_eq!(texts.find(IdRef::Int(42)), Some(1));
        assert_eq!(texts.find(IdRef::Text("C-8")), None);
        assert!(texts.insert(IdRef::Text("C-7")).unwrap_err().contains("row 1"));
        let mut numbers = IdIndex::with_capacity(2);
        numbers.insert(IdRef::Int(7)).unwrap();
        numbers.insert(IdRef::Int(i64::MIN)).unwrap();
        assert_eq!(numbers.find(IdRef::Text("7")), Some(0));
        assert_eq!(numbers.find(IdRef::Text("07")), None);
        assert_eq!(numbers.find(IdRef::Text(&i64::MIN.to_string())), Some(1));
        assert!(numbers.insert(IdRef::Text("x")).is_err());
    }
}
