//! The first pass over a column: checks the type of every value, and finds the smallest width that holds them all.

use rustc_hash::FxHashMap;

use super::ColumnSpec;
use super::pack::Codec;
use crate::values::cell::Cell;
use crate::values::feature_type::FeatureType;

/// Maximum number of distinct categories.
const MOST_CATEGORIES: usize = 1 << 16;

/// What is known of a column.
pub(super) struct Survey {
    spec: ColumnSpec,
    dictionary: FxHashMap<String, u32>,
    digits: String,
    low: f64,
    high: f64,
    /// Bits of the first value while all are the same.
    first: Option<u64>,
    constant: bool,
    whole: bool,
    single: bool,
}

impl Survey {
    pub(super) fn new(spec: &ColumnSpec) -> Self {
        Self {
            spec: spec.clone(),
            dictionary: FxHashMap::default(),
            digits: String::new(),
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
            first: None,
            constant: true,
            whole: true,
            single: true,
        }
    }

    pub(super) fn column(&self) -> &str {
        &self.spec.column
    }

    /// The greatest value; negative infinity without values.
    pub(super) fn greatest(&self) -> f64 {
        self.high
    }

    /// Adds a cell.
    pub(super) fn add(&mut self, cell: Cell<'_>) -> Result<(), String> {
        if self.spec.kind == FeatureType::Category {
            let mut digits = std::mem::take(&mut self.digits);
            let text = cell
                .category(&mut digits)
                .map_err(|_| cell.misfit(self.spec.kind))?;
            if let Some(text) = text.filter(|text| !self.dictionary.contains_key(*text)) {
                if self.dictionary.len() == MOST_CATEGORIES {
                    return Err(format!(
                        "more than {MOST_CATEGORIES} distinct texts; is this a category?"
                    ));
                }
                let code = self.dictionary.len() as u32;
                self.dictionary.insert(text.to_owned(), code);
            }
            self.digits = digits;
        }
        let value = self.code(cell)?;
        let bits = value.to_bits();
        self.constant &= *self.first.get_or_insert(bits) == bits;
        if !value.is_nan() {
            self.low = self.low.min(value);
            self.high = self.high.max(value);
            // An integer would lose the sign of -0.0.
            self.whole &= value.fract() == 0.0 && !(value == 0.0 && value.is_sign_negative());
            #[expect(clippy::cast_possible_truncation, reason = "that is the question")]
            let single = f64::from(value as f32);
            if self.spec.single && value.is_finite() && single.is_infinite() {
                return Err(
                    "found a number beyond the range of 32-bit floats, which the model uses".to_owned(),
                );
            }
            self.single &= single == value;
        }
        Ok(())
    }

    /// The number to store for a cell; NaN is null.
    pub(super) fn code(&mut self, cell: Cell<'_>) -> Result<f64, String> {
        if self.spec.kind != FeatureType::Category {
            let number = cell
                .number(self.spec.kind)
                .map_err(|_| cell.misfit(self.spec.kind))?;
            return Ok(number.unwrap_or(f64::NAN));
        }
        let text = cell.category(&mut self.digits);
        match text.map_err(|_| cell.misfit(self.spec.kind))? {
            None => Ok(f64::NAN),
            Some(text) => match self.dictionary.get(text) {
                Some(&code) => Ok(f64::from(code)),
                None => Err("the file changed while it was read".to_owned()),
            },
        }
    }

    /// The smallest codec that holds every value seen.
    pub(super) fn codec(&self) -> Codec {
        let within = |least: i32, most: i32| self.low > f64::from(least) && self.high <= f64::from(most);
        match self.first {
            Some(bits) if self.constant => Codec::Constant(f64::from_bits(bits)),
            None => Codec::Constant(f64::NAN),
            _ if self.whole && within(i8::MIN.into(), i8::MAX.into()) => Codec::I8,
            _ if self.whole && within(i16::MIN.into(), i16::MAX.into()) => Codec::I16,
            // An f32 has the same width but does not hold every integer.
            _ if self.whole && within(i32::MIN, i32::MAX) => Codec::I32,
            _ if self.single || self.spec.single => Codec::F32,
            _ => Codec::F64,
        }
    }

    /// The texts of the codes, in code order.
    pub(super) fn into_dictionary(self) -> Vec<String> {
        let mut texts: Vec<(u32, String)> = self
            .dictionary
            .into_iter()
            .map(|(text, code)| (code, text))
            .collect();
        texts.sort_unstable();
        texts.into_iter().map(|(_, text)| text).collect()
    }
}
