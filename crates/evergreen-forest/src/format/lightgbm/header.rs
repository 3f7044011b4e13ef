//! Reads the header: everything before the first tree.

use crate::FormatError;
use crate::format::lightgbm::lines::{LineReader, number};
use crate::format::lightgbm::pandas::FeatureInfo;

/// The contents of the header.
#[derive(Default)]
pub(super) struct LightGbmHeader {
    pub(super) version: String,
    /// Trees per iteration: one for each group.
    pub(super) groups: usize,
    pub(super) features: usize,
    /// The objective with its parameters: `binary sigmoid:1`; empty for a custom objective.
    pub(super) objective: String,
    /// The sum is divided by the number of iterations.
    pub(super) average: bool,
    pub(super) names: Vec<String>,
    /// True if the names are not the library's defaults.
    pub(super) named: bool,
    /// The values of each feature in training; empty if the file does not list them.
    pub(super) infos: Vec<FeatureInfo>,
}

impl LightGbmHeader {
    /// Reads up to the first tree.
    pub(super) fn read(lines: &mut LineReader<'_>) -> Result<Self, FormatError> {
        let mut header = Self::default();
        while let Some(line) = lines.peek() {
            if line.starts_with("Tree=") || line == "end of trees" {
                return header.check(lines);
            }
            lines.next();
            header.line(line).map_err(|why| lines.fault(why))?;
        }
        Err(lines.fault("the file ends in its header; expected `Tree=0` or `end of trees`"))
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        match key {
            "version" => self.version = value.to_owned(),
            "num_tree_per_iteration" => self.groups = number(value)?,
            "max_feature_idx" => {
                let last: u32 = number(value)?;
                self.features = last as usize + 1;
            }
            "objective" => self.objective = value.trim().to_owned(),
            "average_output" => self.average = true,
            // A name may contain a tab; the library divides names by blanks only.
            "feature_names" => self.names = words(value).map(str::to_owned).collect(),
            "feature_infos" => {
                self.infos = words(value).map(FeatureInfo::parse).collect();
            }
            _ => {}
        }
        Ok(())
    }

    fn check(mut self, lines: &LineReader<'_>) -> Result<Self, FormatError> {
        if !matches!(self.version.as_str(), "v3" | "v4") {
            let version: String = self.version.chars().take(16).collect();
            return Err(lines.fault(format!(
                "unsupported version `{version}`, expected v3 or v4; load the model with LightGBM 3 or newer and save \
                 it again"
            )));
        }
        for (what, length) in [("names", self.names.len()), ("infos", self.infos.len())] {
            if length != 0 && length != self.features {
                return Err(lines.fault(format!("{length} feature_{what} for {} features", self.features)));
            }
        }
        self.named = self
            .names
            .iter()
            .enumerate()
            .any(|(position, name)| *name != format!("Column_{position}"));
        Ok(self)
    }
}

/// Divides a line at its blanks.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(' ').filter(|word| !word.is_empty())
}
