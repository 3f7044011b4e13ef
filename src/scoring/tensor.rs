//! Tensors: numbers or texts with a name, a type and a shape.

use crate::error::Error;

/// The type of the elements, with the names of the Open Inference Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the protocol's type of that name")]
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp32,
    Fp64,
    Bytes,
}

/// The names of the protocol, and the bytes of an element (0: each has its own length).
const DATATYPES: [(Datatype, &str, usize); 12] = [
    (Datatype::Bool, "BOOL", 1),
    (Datatype::Uint8, "UINT8", 1),
    (Datatype::Uint16, "UINT16", 2),
    (Datatype::Uint32, "UINT32", 4),
    (Datatype::Uint64, "UINT64", 8),
    (Datatype::Int8, "INT8", 1),
    (Datatype::Int16, "INT16", 2),
    (Datatype::Int32, "INT32", 4),
    (Datatype::Int64, "INT64", 8),
    (Datatype::Fp32, "FP32", 4),
    (Datatype::Fp64, "FP64", 8),
    (Datatype::Bytes, "BYTES", 0),
];

impl Datatype {
    /// The names of every type.
    pub fn names() -> impl Iterator<Item = &'static str> {
        DATATYPES.iter().map(|&(_, name, _)| name)
    }

    /// The type with a name of the protocol.
    ///
    /// # Errors
    /// No type has that name; the message lists the known ones.
    pub fn named(name: &str) -> Result<Self, Error> {
        let found = DATATYPES.iter().find(|(_, known, _)| *known == name);
        found.map(|&(datatype, ..)| datatype).ok_or_else(|| {
            let known: Vec<&str> = DATATYPES.iter().map(|&(_, name, _)| name).collect();
            Error::invalid(format!(
                "datatype: expected one of {}, found `{name}`",
                known.join(", ")
            ))
            .about("datatype")
        })
    }

    /// The name in the protocol.
    pub fn name(self) -> &'static str {
        DATATYPES
            .iter()
            .find(|(known, ..)| *known == self)
            .map_or("", |&(_, name, _)| name)
    }

    /// Bytes of an element; 0 for [`Datatype::Bytes`].
    pub fn size(self) -> usize {
        DATATYPES
            .iter()
            .find(|(known, ..)| *known == self)
            .map_or(0, |&(.., size)| size)
    }

    /// The smallest and largest whole number of an integer type.
    pub fn whole_range(self) -> Option<(i64, i64)> {
        Some(match self {
            Self::Bool => (0, 1),
            Self::Uint8 => (0, u8::MAX.into()),
            Self::Uint16 => (0, u16::MAX.into()),
            Self::Uint32 => (0, u32::MAX.into()),
            // Larger numbers exceed 2^53, which no model accepts.
            Self::Uint64 => (0, i64::MAX),
            Self::Int8 => (i8::MIN.into(), i8::MAX.into()),
            Self::Int16 => (i16::MIN.into(), i16::MAX.into()),
            Self::Int32 => (i32::MIN.into(), i32::MAX.into()),
            Self::Int64 => (i64::MIN, i64::MAX),
            Self::Fp32 | Self::Fp64 | Self::Bytes => return None,
        })
    }
}

/// The elements of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Elements of the integer types and BOOL.
    Whole(Vec<i64>),
    /// Elements of FP32 (widened) and FP64; NaN is missing.
    Float(Vec<f64>),
    /// Elements of BYTES.
    Text(Vec<String>),
}

impl Elements {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Whole(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The name.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// The dimensions.
    pub shape: Vec<usize>,
    /// The elements, as many as the product of the dimensions.
    pub elements: Elements,
}

/// Maximum dimensions of a tensor; no model has one with more than two.
const MOST_DIMENSIONS: usize = 8;

impl Tensor {
    /// Creates a tensor.
    ///
    /// # Errors
    /// A dimension is negative, or the number of elements does not match the shape.
    pub fn new(name: String, datatype: Datatype, shape: &[i64], elements: Elements) -> Result<Self, Error> {
        if shape.len() > MOST_DIMENSIONS {
            let found = shape.len();
            let message = format!(
                "input `{name}`: expected a shape of at most {MOST_DIMENSIONS} dimensions, found {found}"
            );
            return Err(Error::invalid(message).about(name));
        }
        let dimensions: Option<Vec<usize>> = shape.iter().map(|&size| usize::try_from(size).ok()).collect();
        let product = |sizes: &Vec<usize>| {
            sizes
                .iter()
                .try_fold(1usize, |product, &size| product.checked_mul(size))
        };
        let (Some(dimensions), Some(count)) = (&dimensions, dimensions.as_ref().and_then(product)) else {
            return Err(Error::invalid(format!(
                "input `{name}`: expected a shape of dimensions from 0, found {shape:?}"
            ))
            .about(name));
        };
        if count != elements.len() {
            let found = elements.len();
            let message =
                format!("input `{name}`: expected {count} elements for the shape {shape:?}, found {found}");
            return Err(Error::invalid(message).about(name));
        }
        Ok(Self {
            name,
            datatype,
            shape: dimensions.clone(),
            elements,
        })
    }
}
