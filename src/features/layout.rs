//! The layout of a remote source: the fields that the live models need from it, and how the values of an entity are packed
//! in a vector.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;

use crate::values::category::resolve;
use crate::values::cell::Cell;
use crate::values::feature_type::{FeatureType, Parse};
use crate::values::slot_value::SlotValue;

/// A value to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The group of the store, such as a feature view of Feast.
    pub group: Option<String>,
    /// The column, hash field or path.
    pub column: String,
    /// The type of its values.
    pub kind: FeatureType,
    /// How text is read as a number.
    pub parse: Parse,
    /// Whether `f32` is enough, because every model that uses it rounds its input to `f32`.
    pub single: bool,
    /// The categories known to any model; a vector holds positions in this list.
    pub categories: Vec<String>,
    /// Whether the categories of a model are whole numbers, so that `1.0` is `1`.
    pub whole: bool,
}

impl Field {
    /// The name in messages.
    pub fn name(&self) -> String {
        match &self.group {
            Some(group) => format!("{group}:{}", self.column),
            None => self.column.clone(),
        }
    }

    /// Whether it is the same value of the store, read the same way.
    fn is_same(&self, other: &Self) -> bool {
        (&self.group, &self.column, self.kind, self.parse, self.whole)
            == (&other.group, &other.column, other.kind, other.parse, other.whole)
    }

    fn words(&self) -> usize {
        if self.single { 1 } else { 2 }
    }
}

/// The fields of one source and their positions in a [`Vector`].
#[derive(Debug)]
pub struct Layout {
    /// The name of the id.
    pub entity: String,
    /// The fields.
    pub fields: Vec<Field>,
    /// The distinct groups; each has an `as_of` time.
    pub groups: Vec<Option<String>>,
    /// The group of each field.
    group_of: Vec<usize>,
    /// The first word of each field.
    offsets: Vec<usize>,
    words: usize,
    /// By field, the position of each category.
    codes: Vec<FxHashMap<String, u32>>,
    /// When an invalid value was last logged, in seconds since the Unix epoch, to limit the log.
    last_logged: AtomicU64,
}

/// The values of one entity: the fetch time, an `as_of` time per group, then the fields. A NaN says why there is no number.
#[derive(Clone, Debug)]
pub struct Vector(Arc<[u32]>);

/// Why a field of a vector holds no number, as the payload of a NaN. A NaN of a store becomes null, so it has none of these.
#[derive(Clone, Copy)]
enum Tag {
    Null = 1,
    Absent,
    UnknownCategory,
    Invalid,
}

const TAGS: [(u32, SlotValue); 4] = [
    (Tag::Null as u32, SlotValue::Null),
    (Tag::Absent as u32, SlotValue::Absent),
    (Tag::UnknownCategory as u32, SlotValue::UnknownCategory),
    (Tag::Invalid as u32, SlotValue::Invalid),
];

const NAN_32: u32 = 0x7fc0_0000;
const NAN_64: u32 = 0x7ff8_0000;

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// Words before the groups: the fetch time.
const HEAD: usize = 2;

impl Layout {
    /// Creates a layout of `fields`.
    pub fn new(entity: &str, fields: Vec<Field>) -> Self {
        let mut groups: Vec<Option<String>> = Vec::new();
        let mut group_of = Vec::with_capacity(fields.len());
        for field in &fields {
            let known = groups.iter().position(|group| *group == field.group);
            group_of.push(known.unwrap_or_else(|| {
                groups.push(field.group.clone());
                groups.len() - 1
            }));
        }
        let mut words = HEAD + 2 * groups.len();
        let mut offsets = Vec::with_capacity(fields.len());
        for field in &fields {
            offsets.push(words);
            words += field.words();
        }
        let codes = fields.iter().map(|field| (0..).zip(&field.categories));
        let codes = codes.map(|codes| codes.map(|(code, name)| (name.clone(), code)).collect());
        Self {
            entity: entity.to_owned(),
            codes: codes.collect(),
            fields,
            groups,
            group_of,
            offsets,
            words,
            last_logged: AtomicU64::new(0),
        }
    }

    /// Whether vectors of this layout have every field of `wanted`, with at least the same precision.
    pub fn covers(&self, wanted: &Self) -> bool {
        let holds = |field: &Field| {
            self.fields.iter().any(|held| {
                held.is_same(field)
                    && (field.single || !held.single)
                    && field
                        .categories
                        .iter()
                        .all(|category| held.categories.contains(category))
            })
        };
        self.entity == wanted.entity && wanted.fields.iter().all(holds)
    }

    /// Whether vectors of this layout have no field beyond those of `wanted`: a field that no model needs any more may be gone
    /// from the store. Additional categories are fine.
    pub fn is_within(&self, wanted: &Self) -> bool {
        self.fields
            .iter()
            .all(|held| wanted.fields.iter().any(|field| held.is_same(field)))
    }

    /// The group of a field.
    pub fn group_of(&self, field: usize) -> usize {
        self.group_of[field]
    }

    /// Starts the vector of an entity with all fields absent; `now` is the fetch time in seconds since the Unix epoch.
    pub fn builder(&self, now: f64) -> VectorBuilder<'_> {
        let mut builder = VectorBuilder {
            layout: self,
            words: vec![0; self.words],
        };
        builder.put_wide(0, now);
        for group in 0..self.groups.len() {
            builder.put_wide(HEAD + 2 * group, f64::NAN);
        }
        for field in 0..self.fields.len() {
            builder.tag(field, Tag::Absent);
        }
        builder
    }

    /// The vector of an entity that the source does not know.
    pub fn unknown(now: f64) -> Vector {
        let mut words = [0; HEAD];
        split(now, &mut words);
        Vector(Arc::from(words))
    }

    /// The vector of an entity whose values cannot be read at all: every field is invalid.
    pub fn invalid(&self, now: f64, reason: &str) -> Vector {
        let mut builder = self.builder(now);
        (0..self.fields.len()).for_each(|field| builder.mark_invalid(field, reason));
        builder.finish()
    }

    /// Bytes of the values of a vector.
    pub fn bytes(&self) -> usize {
        4 * (self.words - HEAD)
    }

    /// Returns true at most once in ten seconds, to limit the log.
    fn may_log(&self, now: f64) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds since 1970"
        )]
        let now = now as u64;
        let last = self.last_logged.load(Ordering::Relaxed);
        now >= last + 10
            && self
                .last_logged
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// Builds a vector.
#[derive(Debug)]
pub struct VectorBuilder<'a> {
    layout: &'a Layout,
    words: Vec<u32>,
}

impl VectorBuilder<'_> {
    /// Sets a field. A value that the field's type does not take is marked as invalid, and the log names its kind.
    pub fn set(&mut self, field: usize, cell: Cell<'_>) {
        match self.convert(field, cell) {
            Ok(SlotValue::Value(value)) => self.put(field, value),
            Ok(SlotValue::UnknownCategory) => self.tag(field, Tag::UnknownCategory),
            Ok(_) => self.tag(field, Tag::Null),
            Err(_) => self.mark_invalid(field, &cell.misfit(self.layout.fields[field].kind)),
        }
    }

    /// Marks a field as invalid, and logs the reason, which must not hold the value.
    pub fn mark_invalid(&mut self, field: usize, reason: &str) {
        self.tag(field, Tag::Invalid);
        if self.layout.may_log(join(&self.words)) {
            let name = self.layout.fields[field].name();
            tracing::warn!(
                feature = name,
                reason,
                "invalid value in a feature store counts as missing"
            );
        }
    }

    /// Sets the `as_of` time of every group, as it was read. One that cannot be an instant, or is later than tomorrow, counts as
    /// older than any `max_age`, and is named in the log: else a wrong unit would make every value look fresh.
    pub fn as_of_all(&mut self, read: Result<Option<f64>, String>) {
        let tomorrow = join(&self.words) + DAY;
        let checked = match read {
            Ok(Some(seconds)) if seconds > tomorrow => Err("later than tomorrow"),
            other => other.map_err(|_| "no time that can be read"),
        };
        let seconds = match checked {
            Ok(None) => return,
            Ok(Some(seconds)) => seconds,
            Err(reason) => {
                if self.layout.may_log(join(&self.words)) {
                    tracing::warn!(
                        reason,
                        "invalid as_of time in a feature store: its values count as stale"
                    );
                }
                f64::NEG_INFINITY
            }
        };
        (0..self.layout.groups.len()).for_each(|group| self.as_of(group, seconds));
    }

    /// Sets a group's `as_of` time, in seconds since the Unix epoch.
    pub fn as_of(&mut self, group: usize, seconds: f64) {
        self.put_wide(HEAD + 2 * group, seconds);
    }

    /// Sets the `as_of` time of a part of a group; the oldest part counts.
    pub fn as_of_oldest(&mut self, group: usize, seconds: f64) {
        let known = join(&self.words[HEAD + 2 * group..]);
        // `min` ignores the NaN of a group without a time.
        self.as_of(group, known.min(seconds));
    }

    /// Finishes the vector.
    pub fn finish(self) -> Vector {
        Vector(Arc::from(self.words))
    }

    fn convert(&self, position: usize, cell: Cell<'_>) -> Result<SlotValue, String> {
        let field = &self.layout.fields[position];
        if field.kind == FeatureType::Category {
            let mut digits = String::new();
            let Some(text) = cell.category(&mut digits)? else {
                return Ok(SlotValue::Null);
            };
            let codes = &self.layout.codes[position];
            let code = resolve(text, field.whole, |name| codes.get(name).copied());
            return Ok(code.map_or(SlotValue::UnknownCategory, |code| SlotValue::Value(code.into())));
        }
        let number = match field.parse {
            Parse::Strict => cell.number(field.kind)?,
            Parse::Tolerant => cell.tolerant(field.kind)?,
        };
        Ok(number.map_or(SlotValue::Null, SlotValue::Value))
    }

    fn put(&mut self, field: usize, value: f64) {
        let offset = self.layout.offsets[field];
        if self.layout.fields[field].single {
            #[expect(clippy::cast_possible_truncation, reason = "every model rounds it so")]
            let value = value as f32;
            self.words[offset] = value.to_bits();
        } else {
            self.put_wide(offset, value);
        }
    }

    fn put_wide(&mut self, offset: usize, value: f64) {
        split(value, &mut self.words[offset..offset + 2]);
    }

    fn tag(&mut self, field: usize, tag: Tag) {
        let offset = self.layout.offsets[field];
        if self.layout.fields[field].single {
            self.words[offset] = NAN_32 | tag as u32;
        } else {
            self.words[offset] = tag as u32;
            self.words[offset + 1] = NAN_64;
        }
    }
}

impl Vector {
    /// Whether the source knows the entity.
    pub fn is_known(&self) -> bool {
        self.0.len() > HEAD
    }

    /// When it was fetched, in seconds since the Unix epoch.
    pub fn fetched(&self) -> f64 {
        join(&self.0)
    }

    /// The `as_of` time of a group in seconds since the Unix epoch, if the source has one.
    pub fn as_of(&self, group: usize) -> Option<f64> {
        Some(join(&self.0[HEAD + 2 * group..])).filter(|time| !time.is_nan())
    }

    /// The value of a field; for a category, its position in [`Field::categories`].
    pub fn get(&self, layout: &Layout, field: usize) -> SlotValue {
        let offset = layout.offsets[field];
        let (value, low) = if layout.fields[field].single {
            let bits = self.0[offset];
            (f64::from(f32::from_bits(bits)), bits)
        } else {
            (join(&self.0[offset..]), self.0[offset])
        };
        if !value.is_nan() {
            return SlotValue::Value(value);
        }
        let tagged = TAGS.iter().find(|&&(tag, _)| low & 0xff == tag);
        tagged.map_or(SlotValue::Null, |&(_, found)| found)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        4 * self.0.len()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn split(value: f64, words: &mut [u32]) {
    let bits = value.to_bits();
    words[0] = bits as u32;
    words[1] = (bits >> 32) as u32;
}

fn join(words: &[u32]) -> f64 {
    f64::from_bits(u64::from(words[0]) | u64::from(words[1]) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: FeatureType, single: bool) -> Field {
        Field {
            group: Some("stats".to_owned()),
            column: "x".to_owned(),
            kind,
            parse: Parse::Strict,
            single,
            categories: vec!["a".to_owned(), "b".to_owned()],
            whole: false,
        }
    }

    #[test]
    fn a_vector_keeps_values_and_why_there_is_none() {
        let layout = Layout::new(
            "id",
            vec![
                field(FeatureType::Float, true),
                field(FeatureType::Int, false),
                field(FeatureType::Category, true),
                field(FeatureType::Int, false),
                field(FeatureType::Float, true),
                field(FeatureType::Category, true),
            ],
        );
        let mut builder = layout.builder(1e9);
        builder.set(0, Cell::Float(0.1));
        builder.set(1, Cell::Int(1 << 53));
        builder.set(2, Cell::Text("b"));
        builder.set(3, Cell::Int((1 << 53) + 1));
        builder.set(4, Cell::Float(-f64::NAN));
        builder.set(5, Cell::Text("c"));
        builder.as_of(0, 5.0);
        let vector = builder.finish();
        let found: Vec<SlotValue> = (0..6).map(|field| vector.get(&layout, field)).collect();
        let expected = [
            SlotValue::Value(f64::from(0.1f32)),
            SlotValue::Value(9_007_199_254_740_992.0),
            SlotValue::Value(1.0),
            SlotValue::Invalid,
            SlotValue::Null,
            SlotValue::UnknownCategory,
        ];
        assert_eq!(found, expected);
        assert_eq!((vector.fetched(), vector.as_of(0)), (1e9, Some(5.0)));
        assert_eq!(layout.builder(0.0).finish().get(&layout, 0), SlotValue::Absent);
        let wide = Layout::new("id", vec![field(FeatureType::Float, false)]);
        let narrow = Layout::new("id", vec![field(FeatureType::Float, true)]);
        assert!(wide.covers(&narrow) && !narrow.covers(&wide) && layout.covers(&narrow));
        assert!(!layout.covers(&Layout::new("other", Vec::new())));
        assert!(vector.is_known() && !Layout::unknown(0.0).is_known());
    }
}
