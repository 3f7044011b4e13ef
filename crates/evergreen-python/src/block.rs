//! A block of rows: cells become the numbers that the model takes, by the contract's rules.
//!
//! Numbers that need no second look are copied column by column. Every other cell takes the way of the server:
//! [`ModelInput::encode`](evergreen::models::input::ModelInput::encode), then [`apply_contract`].

use std::ops::Range;

use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{Array, PrimitiveArray};
use evergreen::models::apply::apply_contract;
use evergreen::models::contract::FeatureType;
use evergreen::models::input::EncodedCell;
use evergreen::values::cell::Cell;
use evergreen::values::issues::FeatureIssues;
use evergreen::values::slot_value::SlotValue;

use crate::column::{Column, Dictionary};
use crate::model::{Model, PlainNumbers};
use crate::selection::Selection;

/// Rows converted and evaluated together: as many as the kernels take at once.
pub(crate) const BLOCK: usize = 256;

/// A block of rows under conversion; its buffers are used again for the next.
#[derive(Debug)]
pub(crate) struct Block<'m> {
    model: &'m Model,
    selection: &'m Selection,
    /// The time as of which features are derived if the table has none, in seconds since the Unix epoch.
    now: f64,
    /// The rows of this block, as positions in the batch.
    rows: Range<usize>,
    /// The numbers of the model's inputs, row-major.
    pub(crate) numbers: Vec<f64>,
    /// By row, what is wrong with its features.
    pub(crate) issues: Vec<FeatureIssues>,
    /// Rows that have issues.
    touched: Vec<bool>,
    /// By row, why it has no score.
    failures: Vec<Option<Failure>>,
    failed: bool,
    /// By slot that derived features use, its values.
    operands: Vec<Vec<SlotValue>>,
}

/// Why a row has no score.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Whether a cell cannot be converted; otherwise the contract rejects the row.
    pub(crate) is_bad_cell: bool,
    slot: usize,
    /// The reason, as a sentence.
    pub(crate) reason: String,
}

impl Failure {
    /// Bad cells first, and then in the order of the features: a row-by-row conversion stops there.
    fn rank(&self) -> (bool, usize) {
        (!self.is_bad_cell, self.slot)
    }
}

impl<'m> Block<'m> {
    pub(crate) fn new(model: &'m Model, selection: &'m Selection, now: f64) -> Self {
        Self {
            model,
            selection,
            now,
            rows: 0..0,
            numbers: Vec::new(),
            issues: Vec::new(),
            touched: Vec::new(),
            failures: Vec::new(),
            failed: false,
            operands: vec![Vec::new(); selection.slots.len()],
        }
    }

    /// Converts the cells of some rows of a batch.
    pub(crate) fn convert(&mut self, columns: &[Column<'_>], rows: Range<usize>) {
        self.reset(rows);
        for slot in 0..self.selection.slots.len() {
            let Some(at) = self.selection.slots[slot] else {
                continue;
            };
            let column = &columns[at];
            if self.selection.is_operand[slot] {
                self.operand(slot, column);
            } else if slot < self.model.inputs().len() {
                self.input(slot, column);
            }
        }
        if self.selection.derives() {
            self.derive(columns);
        }
        self.check_known();
    }

    /// Takes the reasons of the rows without a score, by position in the block.
    pub(crate) fn take_failures(&mut self) -> impl Iterator<Item = (usize, Failure)> {
        let failed = self.failed;
        let failures = self.failures.iter_mut().enumerate().filter(move |_| failed);
        failures.filter_map(|(row, failure)| Some((row, failure.take()?)))
    }

    fn reset(&mut self, rows: Range<usize>) {
        let count = rows.len();
        self.rows = rows;
        self.numbers.resize(count * self.model.inputs().len(), f64::NAN);
        self.issues.resize_with(count, FeatureIssues::default);
        for (issues, touched) in self.issues.iter_mut().zip(&mut self.touched) {
            if std::mem::take(touched) {
                clear(issues);
            }
        }
        self.touched.resize(count, false);
        self.failures.clear();
        self.failures.resize_with(count, || None);
        self.failed = false;
    }

    /// Converts a column that only its own input needs.
    fn input(&mut self, slot: usize, column: &Column<'_>) {
        use FeatureType::{Bool, Float, Int};
        let plain = self.model.plain(slot);
        let plain_of = |kinds: &[FeatureType]| plain.filter(|plain| kinds.contains(&plain.kind));
        match column {
            Column::Dictionary(dictionary) => return self.dictionary(slot, column, dictionary),
            Column::Bool(array) => {
                if let Some(plain) = plain_of(&[Bool]).filter(|_| array.null_count() == 0) {
                    let value = |row| f64::from(u8::from(array.value(row)));
                    return self.copy(slot, column, |row| Some(value(row)).filter(|&v| plain.contain(v)));
                }
            }
            _ => {}
        }
        macro_rules! copy {
            (whole $array:expr) => {
                if let Some(plain) = plain_of(&[Float, Int]) {
                    let plain = plain.whole();
                    #[allow(
                        clippy::cast_lossless,
                        clippy::cast_precision_loss,
                        reason = "exact within `plain`"
                    )]
                    return self.copy_array(slot, column, $array, plain, |value| value as f64);
                }
            };
            (float $array:expr, $convert:expr) => {
                match plain_of(&[Float, Int]) {
                    Some(plain) if plain.kind == Float => {
                        return self.copy_array(slot, column, $array, plain, $convert);
                    }
                    Some(plain) => return self.copy_whole(slot, column, $array, plain.whole(), $convert),
                    None => {}
                }
            };
            (matrix $numbers:expr, $width:expr) => {
                match plain_of(&[Float, Int]) {
                    Some(plain) => {
                        let whole = plain.kind == Int;
                        let plain = if whole { plain.whole() } else { plain };
                        return self.copy(slot, column, |row| {
                            #[allow(clippy::useless_conversion, reason = "of one of the two types")]
                            let value = f64::from($numbers[row * $width]);
                            Some(value).filter(|&value| plain.contain(value) && (!whole || is_whole(value)))
                        });
                    }
                    None => {}
                }
            };
        }
        match column {
            Column::Int8(array) => copy!(whole array),
            Column::Int16(array) => copy!(whole array),
            Column::Int32(array) => copy!(whole array),
            Column::Int64(array) => copy!(whole array),
            Column::UInt8(array) => copy!(whole array),
            Column::UInt16(array) => copy!(whole array),
            Column::UInt32(array) => copy!(whole array),
            Column::UInt64(array) => copy!(whole array),
            Column::Float32(array) => copy!(float array, f64::from),
            Column::Float64(array) => copy!(float array, |value| value),
            Column::Matrix32(numbers, width) => copy!(matrix numbers, width),
            Column::Matrix64(numbers, width) => copy!(matrix numbers, width),
            _ => {}
        }
        self.copy(slot, column, |_| None);
    }

    /// Copies the numbers of an array that need no second look.
    fn copy_array<T: ArrowPrimitiveType>(
        &mut self,
        slot: usize,
        column: &Column<'_>,
        array: &PrimitiveArray<T>,
        plain: PlainNumbers,
        convert: impl Fn(T::Native) -> f64,
    ) {
        let values = array.values();
        let number = |row: usize| Some(convert(values[row])).filter(|&value| plain.contain(value));
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => self.copy(slot, column, number),
            Some(nulls) => self.copy(slot, column, |row| match nulls.is_valid(row) {
                true => number(row),
                false => None,
            }),
        }
    }

    /// As [`Self::copy_array`] for floats of a feature that takes whole numbers.
    fn copy_whole<T: ArrowPrimitiveType>(
        &mut self,
        slot: usize,
        column: &Column<'_>,
        array: &PrimitiveArray<T>,
        plain: PlainNumbers,
        convert: impl Fn(T::Native) -> f64,
    ) {
        let values = array.values();
        self.copy(slot, column, |row| {
            let number = Some(convert(values[row]));
            number.filter(|&value| plain.contain(value) && is_whole(value) && array.is_valid(row))
        });
    }

    /// Copies the numbers of a column for which `plain` returns one. Any other cell goes through the contract's rules.
    fn copy(&mut self, slot: usize, column: &Column<'_>, plain: impl Fn(usize) -> Option<f64>) {
        let width = self.model.inputs().len();
        for (row, at) in self.rows.clone().enumerate() {
            match plain(at) {
                Some(number) => self.numbers[row * width + slot] = number,
                None => {
                    let value = self.slot_value(row, slot, column, at);
                    self.apply(row, slot, value);
                }
            }
        }
    }

    /// Converts each value of a short dictionary once.
    fn dictionary(&mut self, slot: usize, column: &Column<'_>, dictionary: &Dictionary<'_>) {
        // A slice of a column keeps the whole dictionary.
        if dictionary.len > self.rows.len() {
            return self.copy(slot, column, |_| None);
        }
        let encode = |key| {
            let cell = dictionary.values.cell(key)?;
            self.model.encode(slot, cell).map(slot_value)
        };
        let encoded: Vec<Result<SlotValue, String>> = (0..dictionary.len).map(encode).collect();
        for (row, at) in self.rows.clone().enumerate() {
            let value = match dictionary.key(at) {
                None => Some(SlotValue::Null),
                Some(key) => match &encoded[key] {
                    Ok(value) => Some(*value),
                    Err(message) => self.bad_cell(row, slot, message.clone()),
                },
            };
            self.apply(row, slot, value);
        }
    }

    /// Converts a column that derived features use, and that may be an input itself.
    fn operand(&mut self, slot: usize, column: &Column<'_>) {
        let mut values = std::mem::take(&mut self.operands[slot]);
        values.clear();
        for (row, at) in self.rows.clone().enumerate() {
            let value = self.slot_value(row, slot, column, at);
            values.push(value.unwrap_or(SlotValue::Absent));
            if slot < self.model.inputs().len() {
                self.apply(row, slot, value);
            }
        }
        self.operands[slot] = values;
    }

    /// Computes the derived features.
    fn derive(&mut self, columns: &[Column<'_>]) {
        let as_of = self.selection.as_of.map(|at| &columns[at]);
        for (row, at) in self.rows.clone().enumerate() {
            let time = as_of.map(|column| {
                let number = column
                    .cell(at)
                    .and_then(|cell| cell.number(FeatureType::Timestamp));
                number.map_err(|message| self.bad_cell(row, usize::MAX, message))
            });
            let time = time.and_then(Result::ok).flatten().unwrap_or(self.now);
            for position in 0..self.model.inputs().len() {
                if let (Some(derived), None) = (self.model.derived(position), self.selection.slots[position])
                {
                    let slots = derived.slots().iter();
                    let operands: Vec<SlotValue> = slots.map(|&slot| self.operands[slot][row]).collect();
                    let value = derived.value(&operands, time);
                    self.apply(row, position, Some(value));
                }
            }
        }
    }

    /// The value of a cell; `None` if it cannot be converted.
    fn slot_value(&mut self, row: usize, slot: usize, column: &Column<'_>, at: usize) -> Option<SlotValue> {
        let model = self.model;
        let encode = |cell: Cell<'_>| model.encode(slot, cell).map(slot_value);
        match column.cell(at).and_then(encode) {
            Ok(value) => Some(value),
            Err(message) => self.bad_cell(row, slot, message),
        }
    }

    /// Applies the contract to the value of an input; `None` is for a cell that cannot be converted.
    fn apply(&mut self, row: usize, position: usize, value: Option<SlotValue>) {
        let model = self.model;
        let input = &model.inputs()[position];
        let issues = &mut self.issues[row];
        self.touched[row] = true;
        let number = match value.map(|value| apply_contract(input, position, value, false, issues)) {
            Some(Ok(number)) => number,
            Some(Err(error)) => {
                self.fail(row, false, position, error.to_string());
                f64::NAN
            }
            None => f64::NAN,
        };
        self.numbers[row * model.inputs().len() + position] = number;
    }

    /// Checks that enough is known of each row.
    fn check_known(&mut self) {
        let version = &self.model.version;
        for row in 0..self.rows.len() {
            if self.touched[row]
                && let Err(error) = version.known.check(&self.issues[row], &version.inputs)
            {
                self.fail(row, false, usize::MAX, error.to_string());
            }
        }
    }

    fn bad_cell(&mut self, row: usize, slot: usize, message: String) -> Option<SlotValue> {
        let contract = self.model.slot(slot);
        let name = contract.map_or("as_of", |contract| contract.column());
        self.fail(row, true, slot, format!("column `{name}`: {message}"));
        None
    }

    fn fail(&mut self, row: usize, is_bad_cell: bool, slot: usize, reason: String) {
        let failure = Failure {
            is_bad_cell,
            slot,
            reason,
        };
        let known = &mut self.failures[row];
        if known.as_ref().is_none_or(|known| failure.rank() < known.rank()) {
            *known = Some(failure);
        }
        self.failed = true;
    }
}

fn slot_value(encoded: EncodedCell) -> SlotValue {
    match encoded {
        EncodedCell::Value(value) => SlotValue::Value(value),
        EncodedCell::Null => SlotValue::Null,
        EncodedCell::UnknownCategory => SlotValue::UnknownCategory,
    }
}

/// Whether a number within ±2^53 is whole.
fn is_whole(value: f64) -> bool {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "that is the question"
    )]
    let truncated = value as i64 as f64;
    truncated == value
}

/// Empties the lists and keeps their memory.
fn clear(issues: &mut FeatureIssues) {
    let FeatureIssues {
        missing,
        null,
        stale,
        out_of_range,
        defaulted,
    } = issues;
    for list in [missing, null, stale, out_of_range, defaulted] {
        list.clear();
    }
}
