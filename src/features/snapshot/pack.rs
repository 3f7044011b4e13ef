//! Packed rows: each column in the smallest width that holds its values exactly.

/// How the numbers of a column are stored. Null is NaN for floats and the smallest number for integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Codec {
    /// One value for all rows, in no bytes.
    Constant(f64),
    I8,
    I16,
    I32,
    F32,
    F64,
}

impl Codec {
    pub(super) const fn width(self) -> usize {
        match self {
            Self::Constant(_) => 0,
            Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// Packed rows.
#[derive(Debug)]
pub(super) struct PackedRows {
    /// Codec and offset in the row of each column.
    columns: Vec<(Codec, usize)>,
    stride: usize,
    bytes: Vec<u8>,
    /// The column of the next value to be pushed.
    next: usize,
}

impl PackedRows {
    pub(super) fn new(codecs: Vec<Codec>, rows: usize) -> Self {
        let mut stride = 0;
        let columns = codecs
            .into_iter()
            .map(|codec| {
                let offset = stride;
                stride += codec.width();
                (codec, offset)
            })
            .collect();
        Self {
            columns,
            stride,
            bytes: Vec::with_capacity(rows * stride),
            next: 0,
        }
    }

    /// Appends the next value, row by row and column by column; NaN is null.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each cast is checked by reading the value back"
    )]
    pub(super) fn push(&mut self, value: f64) -> Result<(), String> {
        let (codec, offset) = self.columns[self.next];
        let start = self.bytes.len();
        match codec {
            Codec::Constant(_) => {}
            Codec::I8 => self
                .bytes
                .extend((if value.is_nan() { i8::MIN } else { value as i8 }).to_le_bytes()),
            Codec::I16 => self
                .bytes
                .extend((if value.is_nan() { i16::MIN } else { value as i16 }).to_le_bytes()),
            Codec::I32 => self
                .bytes
                .extend((if value.is_nan() { i32::MIN } else { value as i32 }).to_le_bytes()),
            Codec::F32 => self.bytes.extend((value as f32).to_le_bytes()),
            Codec::F64 => self.bytes.extend(value.to_le_bytes()),
        }
        self.next = (self.next + 1) % self.columns.len();
        let stored = decode(codec, &self.bytes[start..]);
        // F32 columns are rounded on purpose. Any other difference means that the value was not in the survey.
        let same = stored == value || (stored.is_nan() && value.is_nan()) || codec == Codec::F32;
        debug_assert!(offset <= self.stride, "columns follow each other");
        if same {
            Ok(())
        } else {
            Err("the file changed while it was read".to_owned())
        }
    }

    /// The number in a row and column; NaN for null.
    pub(super) fn get(&self, row: usize, column: usize) -> f64 {
        let (codec, offset) = self.columns[column];
        decode(codec, &self.bytes[row * self.stride + offset..])
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

fn decode(codec: Codec, bytes: &[u8]) -> f64 {
    fn head<const N: usize>(bytes: &[u8]) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&bytes[..N]);
        out
    }
    fn or_null(value: i32, null: i32) -> f64 {
        if value == null { f64::NAN } else { f64::from(value) }
    }
    match codec {
        Codec::Constant(value) => value,
        Codec::I8 => or_null(i8::from_le_bytes(head(bytes)).into(), i8::MIN.into()),
        Codec::I16 => or_null(i16::from_le_bytes(head(bytes)).into(), i16::MIN.into()),
        Codec::I32 => or_null(i32::from_le_bytes(head(bytes)), i32::MIN),
        Codec::F32 => f32::from_le_bytes(head(bytes)).into(),
        Codec::F64 => f64::from_le_bytes(head(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let codecs = vec![
            Codec::I8,
            Codec::Constant(5.0),
            Codec::I16,
            Codec::I32,
            Codec::F32,
            Codec::F64,
        ];
        let mut packed = PackedRows::new(codecs, 2);
        let rows = [
            [-127.0, 5.0, 32767.0, 1e9, 0.5, 0.1],
            [f64::NAN, 5.0, f64::NAN, f64::NAN, f64::NAN, f64::NAN],
        ];
        rows.iter()
            .flatten()
            .for_each(|&value| packed.push(value).unwrap());
        for (row, values) in rows.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                assert_eq!(
                    packed.get(row, column).to_bits(),
                    value.to_bits(),
                    "row {row} column {column}"
                );
            }
        }
        assert_eq!(packed.size_bytes(), 2 * (1 + 2 + 4 + 4 + 8));
        assert!(PackedRows::new(vec![Codec::I8], 1).push(1e6).is_err());
    }
}
