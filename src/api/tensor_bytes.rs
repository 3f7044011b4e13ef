//! Binary tensor data of the Open Inference Protocol: little-endian, row-major. A BYTES element follows its length, a
//! 32-bit integer.

use crate::error::Error;
use crate::scoring::tensor::{Datatype, Elements};

/// Reads tensors that follow each other in a body.
#[derive(Debug)]
pub(super) struct TensorReader<'a> {
    rest: &'a [u8],
}

impl<'a> TensorReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the next `size` bytes, for the input `name`.
    ///
    /// # Errors
    /// Fewer bytes are left.
    pub(super) fn take(&mut self, name: &str, size: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(size).ok_or_else(|| {
            let left = self.rest.len();
            Error::invalid(format!(
                "input `{name}`: binary_data_size is {size}, but the body has only {left} bytes left"
            ))
            .about(name)
        })?;
        self.rest = rest;
        Ok(head)
    }

    /// Checks that no bytes are left.
    pub(super) fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "expected no bytes after the last binary tensor, found {}",
            self.rest.len()
        )))
    }
}

/// Decodes the elements of the tensor `name`.
///
/// # Errors
/// The length does not match the datatype, or a text is not UTF-8.
pub(super) fn read(name: &str, datatype: Datatype, bytes: &[u8]) -> Result<Elements, Error> {
    fn each<const N: usize, T>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes
            .as_chunks::<N>()
            .0
            .iter()
            .map(|chunk| from(*chunk))
            .collect()
    }
    let size = datatype.size();
    if size > 0 && !bytes.len().is_multiple_of(size) {
        let length = bytes.len();
        return Err(Error::invalid(format!(
            "input `{name}`: expected a multiple of {size} bytes, found {length}"
        ))
        .about(name));
    }
    Ok(match datatype {
        Datatype::Bool | Datatype::Uint8 => Elements::Whole(each(bytes, |b: [u8; 1]| b[0].into())),
        Datatype::Uint16 => Elements::Whole(each(bytes, |b| u16::from_le_bytes(b).into())),
        Datatype::Uint32 => Elements::Whole(each(bytes, |b| u32::from_le_bytes(b).into())),
        Datatype::Uint64 => {
            // Stops at the first fault: an error holds the name, which a client chooses, and there may be many.
            let numbers = bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| whole(name, u64::from_le_bytes(*b)));
            Elements::Whole(numbers.collect::<Result<_, _>>()?)
        }
        Datatype::Int8 => Elements::Whole(each(bytes, |b| i8::from_le_bytes(b).into())),
        Datatype::Int16 => Elements::Whole(each(bytes, |b| i16::from_le_bytes(b).into())),
        Datatype::Int32 => Elements::Whole(each(bytes, |b| i32::from_le_bytes(b).into())),
        Datatype::Int64 => Elements::Whole(each(bytes, i64::from_le_bytes)),
        Datatype::Fp32 => Elements::Float(each(bytes, |b| f32::from_le_bytes(b).into())),
        Datatype::Fp64 => Elements::Float(each(bytes, f64::from_le_bytes)),
        Datatype::Bytes => Elements::Text(texts(name, bytes)?),
    })
}

/// Converts a number of type UINT64. Beyond 2^63 it fits no feature and no id; a clamped number would be another one.
pub(super) fn whole(name: &str, number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(|_| {
        Error::invalid(format!(
            "input `{name}`: expected UINT64 up to {}, found {number}",
            i64::MAX
        ))
        .about(name)
    })
}

fn texts(name: &str, bytes: &[u8]) -> Result<Vec<String>, Error> {
    let truncated = || {
        Error::invalid(format!(
            "input `{name}`: a BYTES element exceeds the end of its tensor"
        ))
        .about(name)
    };
    let mut texts = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (element, after) = after.split_at_checked(length).ok_or_else(truncated)?;
        texts.push(text(name, element)?);
        rest = after;
    }
    Ok(texts)
}

/// Decodes a BYTES element as UTF-8 text.
pub(super) fn text(name: &str, element: &[u8]) -> Result<String, Error> {
    let text = std::str::from_utf8(element).map(str::to_owned);
    text.map_err(|_| {
        Error::invalid(format!("input `{name}`: expected UTF-8 text in a BYTES element")).about(name)
    })
}

/// Appends the encoded elements of a tensor to `out`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "outputs are FP32, FP64, INT32, INT64 or BYTES of that width"
)]
pub(super) fn write(datatype: Datatype, elements: &Elements, out: &mut Vec<u8>) {
    match elements {
        Elements::Whole(values) if datatype == Datatype::Int64 => {
            values.iter().for_each(|&value| out.extend(value.to_le_bytes()));
        }
        Elements::Whole(values) => values
            .iter()
            .for_each(|&value| out.extend((value as i32).to_le_bytes())),
        Elements::Float(values) if datatype == Datatype::Fp32 => {
            values
                .iter()
                .for_each(|&value| out.extend((value as f32).to_le_bytes()));
        }
        Elements::Float(values) => values.iter().for_each(|&value| out.extend(value.to_le_bytes())),
        Elements::Text(texts) => {
            for text in texts {
                out.extend((text.len() as u32).to_le_bytes());
                out.extend(text.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_written_elements() {
        for (datatype, elements) in [
            (Datatype::Fp32, Elements::Float(vec![0.5, -1.25])),
            (Datatype::Fp64, Elements::Float(vec![0.1])),
            (Datatype::Int32, Elements::Whole(vec![-7, 9])),
            (Datatype::Int64, Elements::Whole(vec![-7, 1 << 40])),
            (Datatype::Bytes, Elements::Text(vec!["".into(), "Łódź".into()])),
        ] {
            let mut bytes = Vec::new();
            write(datatype, &elements, &mut bytes);
            assert_eq!(read("x", datatype, &bytes).unwrap(), elements);
        }
        assert!(read("x", Datatype::Fp32, &[0; 5]).is_err());
        assert!(read("x", Datatype::Bytes, &[9, 0, 0, 0, 1]).is_err());
    }

    #[test]
    fn many_faults_make_one_error() {
        // An error for each of them would take a terabyte.
        let name = "x".repeat(1 << 20);
        let error = read(&name, Datatype::Uint64, &vec![0xff; 8 << 20]).unwrap_err();
        assert!(error.to_string().len() < 2 << 20);
    }
}
