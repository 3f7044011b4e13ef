//! Replies to commands, and whether they are what the command promises.

use redis::Value;

/// The reply to one command: a value, or an error that concerns its key.
pub(crate) type Reply = Result<Value, String>;

/// What a command answers if the server keeps to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyShape {
    /// A value or null.
    Value,
    /// So many values or nulls.
    Values(usize),
}

impl ReplyShape {
    pub(super) fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Value, Value::Nil | Value::BulkString(_) | Value::SimpleString(_)) => true,
            (Self::Values(count), Value::Array(values)) => {
                values.len() == count && values.iter().all(|value| Self::Value.fits(value))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_with_another_number_of_values_does_not_fit() {
        let values = |count| Value::Array(vec![Value::Nil; count]);
        assert!(ReplyShape::Values(2).fits(&values(2)) && ReplyShape::Value.fits(&Value::Nil));
        for wrong in [
            values(1),
            values(3),
            Value::Nil,
            Value::Int(2),
            Value::Array(vec![values(0); 2]),
        ] {
            assert!(!ReplyShape::Values(2).fits(&wrong), "{wrong:?}");
        }
        assert!(!ReplyShape::Value.fits(&values(1)));
    }
}
