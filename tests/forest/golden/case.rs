//! Reads a `.gold` file (see `tests/golden/record.py`).

use std::collections::BTreeMap;
use std::path::Path;

use evergreen_forest::{Forest, OutputKind};
use serde::Deserialize;

/// A model and the predictions of its library.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) model: String,
    pub(crate) rows: usize,
    pub(crate) features: usize,
    pub(crate) best: bool,
    pub(crate) input: Vec<f64>,
    /// Texts that replace a column's numbers.
    pub(crate) texts: BTreeMap<usize, Vec<String>>,
    pub(crate) outputs: Vec<Output>,
}

/// An output of the library.
pub(crate) struct Output {
    pub(crate) kind: OutputKind,
    pub(crate) width: usize,
    /// The library returns `f32`: compare as `f32`.
    pub(crate) narrow: bool,
    pub(crate) answer: Vec<f64>,
}

#[derive(Deserialize)]
struct Head {
    case: String,
    model: String,
    rows: usize,
    features: usize,
    r#type: String,
    iterations: String,
    #[serde(default)]
    texts: BTreeMap<usize, Vec<String>>,
    outputs: Vec<OutputHead>,
}

#[derive(Deserialize)]
struct OutputHead {
    kind: String,
    r#type: String,
    width: usize,
}

impl Case {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let head: Head = serde_json::from_slice(&bytes[..end]).unwrap();
        let mut rest = &bytes[end + 1..];
        let input = numbers(&mut rest, &head.r#type, head.rows * head.features);
        let outputs = head
            .outputs
            .iter()
            .map(|output| Output {
                kind: kind(&output.kind),
                width: output.width,
                narrow: output.r#type == "float32",
                answer: numbers(&mut rest, &output.r#type, head.rows * output.width),
            })
            .collect();
        assert!(rest.is_empty(), "{} bytes too many", rest.len());
        Self {
            name: head.case,
            model: head.model,
            rows: head.rows,
            features: head.features,
            best: head.iterations == "best",
            input,
            texts: head.texts,
            outputs,
        }
    }
}

impl Case {
    /// Replaces texts with the model's codes. Unknown texts become missing.
    pub(crate) fn encode(&mut self, forest: &Forest) {
        for (column, texts) in &self.texts {
            let categories = forest.features()[*column].categories.as_ref().unwrap();
            for (row, text) in texts.iter().enumerate() {
                let code = categories.code(text).map_or(f64::NAN, f64::from);
                self.input[row * self.features + column] = code;
            }
        }
    }
}

fn kind(name: &str) -> OutputKind {
    match name {
        "margin" => OutputKind::Margin,
        "value" => OutputKind::Value,
        "class" => OutputKind::Class,
        "leaf" => OutputKind::Leaf,
        "contributions" => OutputKind::Contributions,
        other => panic!("unknown kind {other}"),
    }
}

fn numbers(bytes: &mut &[u8], name: &str, count: usize) -> Vec<f64> {
    let width = if name == "float32" { 4 } else { 8 };
    let (mine, rest) = bytes.split_at(count * width);
    *bytes = rest;
    mine.chunks_exact(width)
        .map(|number| match number.try_into() {
            Ok(four) => f64::from(f32::from_le_bytes(four)),
            Err(_) => f64::from_le_bytes(number.try_into().unwrap()),
        })
        .collect()
}
