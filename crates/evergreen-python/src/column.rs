//! The cells of one column, as the library that made it stores them.

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Decimal32Type, Decimal64Type};
use arrow_array::types::{
    Date32Type, Date64Type, Decimal128Type, DecimalType, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float16Array, Float32Array, Float64Array, LargeStringArray,
    PrimitiveArray, StringArray, StringViewArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};
use evergreen::features::table::{self, decimals};
use evergreen::values::cell::Cell;

/// A cell of a row that is a mapping in Python.
#[derive(Debug)]
pub(crate) enum RowCell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

/// A column. Row numbers are those of its batch.
#[derive(Debug)]
pub(crate) enum Column<'a> {
    /// No cell has a value.
    Null,
    Bool(&'a BooleanArray),
    Int8(&'a PrimitiveArray<Int8Type>),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    UInt8(&'a PrimitiveArray<UInt8Type>),
    UInt16(&'a PrimitiveArray<UInt16Type>),
    UInt32(&'a PrimitiveArray<UInt32Type>),
    UInt64(&'a PrimitiveArray<UInt64Type>),
    Float16(&'a Float16Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Dictionary(Dictionary<'a>),
    /// Decimals, converted as those of a Parquet file are.
    Converted(table::Column),
    Times(Times),
    /// A column of a matrix: the numbers from its first one on, and the distance from one to the next.
    Matrix32(&'a [f32], usize),
    /// As `Matrix32`.
    Matrix64(&'a [f64], usize),
    /// The one cell of a row.
    Row(&'a RowCell),
}

/// A column that holds the position of each cell in a list of values.
#[derive(Debug)]
pub(crate) struct Dictionary<'a> {
    /// By row, the position; 0 where `nulls` says null.
    pub(crate) keys: Vec<u32>,
    nulls: Option<NullBuffer>,
    pub(crate) values: Box<Column<'a>>,
    /// Number of values.
    pub(crate) len: usize,
}

/// Times in microseconds since the Unix epoch.
#[derive(Debug)]
pub(crate) struct Times {
    micros: Vec<Option<i64>>,
    /// The rows of times that are beyond 64 bits in microseconds, ascending.
    beyond: Vec<usize>,
}

impl Dictionary<'_> {
    /// The position of a row's value; `None` is null.
    pub(crate) fn key(&self, row: usize) -> Option<usize> {
        let present = self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        present.then(|| self.keys[row] as usize)
    }
}

impl<'a> Column<'a> {
    /// The cells of an Arrow array.
    ///
    /// # Errors
    /// Columns of its type are not read; the message names the type.
    pub(crate) fn of_array(array: &'a ArrayRef) -> Result<Self, String> {
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean()),
            DataType::Int8 => Self::Int8(array.as_primitive()),
            DataType::Int16 => Self::Int16(array.as_primitive()),
            DataType::Int32 => Self::Int32(array.as_primitive()),
            DataType::Int64 => Self::Int64(array.as_primitive()),
            DataType::UInt8 => Self::UInt8(array.as_primitive()),
            DataType::UInt16 => Self::UInt16(array.as_primitive()),
            DataType::UInt32 => Self::UInt32(array.as_primitive()),
            DataType::UInt64 => Self::UInt64(array.as_primitive()),
            DataType::Float16 => Self::Float16(array.as_primitive()),
            DataType::Float32 => Self::Float32(array.as_primitive()),
            DataType::Float64 => Self::Float64(array.as_primitive()),
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::LargeUtf8 => Self::LargeText(array.as_string()),
            DataType::Utf8View => Self::TextView(array.as_string_view()),
            DataType::Dictionary(_, _) => Self::Dictionary(dictionary(array)?),
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, _) => Self::Times(times(array)),
            DataType::Decimal32(_, scale) => Self::Converted(decimal::<Decimal32Type>(array, *scale)),
            DataType::Decimal64(_, scale) => Self::Converted(decimal::<Decimal64Type>(array, *scale)),
            DataType::Decimal128(_, scale) => Self::Converted(decimal::<Decimal128Type>(array, *scale)),
            other => {
                return Err(format!(
                    "columns of type {other} are not read; cast it to numbers, booleans, texts or timestamps"
                ));
            }
        })
    }

    /// The cell of a row.
    ///
    /// # Errors
    /// An unsigned number beyond 2^63, and a time beyond 64 bits in microseconds.
    pub(crate) fn cell(&self, row: usize) -> Result<Cell<'_>, String> {
        fn int<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize) -> Cell<'_>
        where
            T::Native: Into<i64>,
        {
            match array.is_null(row) {
                true => Cell::Null,
                false => Cell::Int(array.value(row).into()),
            }
        }
        fn present<'c, A: Array>(array: &'c A, row: usize, cell: impl FnOnce(&'c A) -> Cell<'c>) -> Cell<'c> {
            match array.is_null(row) {
                true => Cell::Null,
                false => cell(array),
            }
        }
        Ok(match self {
            Self::Null => Cell::Null,
            Self::Bool(array) => present(*array, row, |array| Cell::Bool(array.value(row))),
            Self::Int8(array) => int(array, row),
            Self::Int16(array) => int(array, row),
            Self::Int32(array) => int(array, row),
            Self::Int64(array) => int(array, row),
            Self::UInt8(array) => int(array, row),
            Self::UInt16(array) => int(array, row),
            Self::UInt32(array) => int(array, row),
            Self::UInt64(array) => match array.is_null(row) {
                true => Cell::Null,
                false => {
                    let value = array.value(row);
                    Cell::Int(
                        value
                            .try_into()
                            .map_err(|_| format!("{value} is an unsigned number beyond 2^63"))?,
                    )
                }
            },
            Self::Float16(array) => present(*array, row, |array| Cell::Float(array.value(row).to_f64())),
            Self::Float32(array) => present(*array, row, |array| Cell::Float(array.value(row).into())),
            Self::Float64(array) => present(*array, row, |array| Cell::Float(array.value(row))),
            Self::Text(array) => present(*array, row, |array| Cell::Text(array.value(row))),
            Self::LargeText(array) => present(*array, row, |array| Cell::Text(array.value(row))),
            Self::TextView(array) => present(*array, row, |array| Cell::Text(array.value(row))),
            Self::Dictionary(dictionary) => match dictionary.key(row) {
                None => Cell::Null,
                Some(key) => return dictionary.values.cell(key),
            },
            Self::Converted(column) => column.cell(row),
            Self::Times(times) => return times.cell(row),
            Self::Matrix32(numbers, width) => Cell::Float(numbers[row * width].into()),
            Self::Matrix64(numbers, width) => Cell::Float(numbers[row * width]),
            Self::Row(cell) => match cell {
                RowCell::Null => Cell::Null,
                RowCell::Bool(value) => Cell::Bool(*value),
                RowCell::Int(value) => Cell::Int(*value),
                RowCell::Float(value) => Cell::Float(*value),
                RowCell::Text(text) => Cell::Text(text),
            },
        })
    }
}

fn dictionary(array: &ArrayRef) -> Result<Dictionary<'_>, String> {
    let any = array.as_any_dictionary();
    let len = any.values().len();
    if len > u32::MAX as usize {
        return Err(format!("a dictionary of {len} values; cast the column to texts"));
    }
    let keys = if len == 0 {
        vec![0; array.len()]
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "below the length, which fits")]
        let narrow = |key: usize| key as u32;
        any.normalized_keys().into_iter().map(narrow).collect()
    };
    Ok(Dictionary {
        keys,
        nulls: any.keys().nulls().cloned(),
        values: Box::new(Column::of_array(any.values())?),
        len,
    })
}

/// Times in microseconds since the Unix epoch, as those of a Parquet file: nanoseconds are rounded down. A time zone is only
/// how a time is shown.
fn times(array: &ArrayRef) -> Times {
    const MICROS_A_DAY: i64 = 86_400_000_000;
    match array.data_type() {
        DataType::Date32 => scaled::<Date32Type>(array, MICROS_A_DAY, 1),
        DataType::Date64 => scaled::<Date64Type>(array, 1000, 1),
        DataType::Timestamp(TimeUnit::Second, _) => scaled::<TimestampSecondType>(array, 1_000_000, 1),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scaled::<TimestampMillisecondType>(array, 1000, 1),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => scaled::<TimestampNanosecondType>(array, 1, 1000),
        _ => scaled::<TimestampMicrosecondType>(array, 1, 1),
    }
}

/// The values times `times`, divided by `over`.
fn scaled<T: ArrowPrimitiveType>(array: &ArrayRef, times: i64, over: i64) -> Times
where
    T::Native: Into<i64>,
{
    let mut beyond = Vec::new();
    let scale = |(row, value): (usize, Option<T::Native>)| {
        let micros = value?.into().checked_mul(times);
        if micros.is_none() {
            beyond.push(row);
        }
        micros.map(|micros| micros.div_euclid(over))
    };
    Times {
        micros: array.as_primitive::<T>().iter().enumerate().map(scale).collect(),
        beyond,
    }
}

impl Times {
    fn cell(&self, row: usize) -> Result<Cell<'_>, String> {
        match self.micros[row] {
            Some(micros) => Ok(Cell::Time(micros)),
            None if self.beyond.binary_search(&row).is_ok() => Err(
                "a time that does not fit into 64 bits as microseconds since 1970; expected one between the years \
                 -290307 and 294247"
                    .to_owned(),
            ),
            None => Ok(Cell::Null),
        }
    }
}

fn decimal<T: DecimalType>(array: &ArrayRef, scale: i8) -> table::Column
where
    T::Native: Into<i128>,
{
    let values = array.as_primitive::<T>().iter();
    decimals(values.map(|value| value.map(Into::into)).collect(), scale.into())
}
