//! The id of an entity: a text or a whole number.

use std::fmt;

/// The id of an entity, owned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntityId {
    /// `C-1042`
    Text(String),
    /// `1042`
    Int(i64),
}

/// The id of an entity, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdRef<'a> {
    /// `C-1042`
    Text(&'a str),
    /// `1042`
    Int(i64),
}

impl EntityId {
    /// One form for ids that name the same entity: a text of a whole number's digits is that number.
    pub fn canonical(&self) -> Self {
        match self {
            Self::Text(text) => match text.parse::<i64>() {
                Ok(number) if number.to_string() == *text => Self::Int(number),
                _ => self.clone(),
            },
            Self::Int(_) => self.clone(),
        }
    }

    /// Borrowed.
    pub fn as_ref(&self) -> IdRef<'_> {
        match self {
            Self::Text(id) => IdRef::Text(id),
            Self::Int(id) => IdRef::Int(*id),
        }
    }
}

impl fmt::Display for IdRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(id) => f.write_str(id),
            Self::Int(id) => id.fmt(f),
        }
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}
