//! `evergreen inspect`: describes a model, for people and as JSON.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::table::TextTable;
use super::{BOLD, CommandError, human_bytes, print_line, print_table, thousands};
use crate::config::models::FILE_BYTES;
use crate::models::bundle::Bundle;
use crate::models::contract::Contract;
use crate::words::counted;
use evergreen_forest::{Categories, Feature, Forest, KernelName, LoadOptions};

const EXAMPLES: &str = "\
Examples:
  evergreen inspect models/churn/1                    describe a bundle's model
  evergreen inspect model.json                        describe a model file
  evergreen inspect --json model.txt | jq '.features[0]'";

/// Describe a model: format, objective, trees, features with splits and gain, categories, size
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InspectCommand {
    /// Bundle folder or model file
    path: PathBuf,
    /// Force a kernel: scalar, direct, binned or bit-sliced. Default: the fastest for the model
    #[arg(long, value_name = "NAME")]
    kernel: Option<KernelName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl InspectCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let bundle = Bundle::find(&self.path)?;
        let contract = bundle.contract()?;
        let files = bundle.read(contract.as_ref(), FILE_BYTES)?;
        let options = contract
            .as_ref()
            .map_or_else(LoadOptions::default, Contract::load_options);
        let options = LoadOptions {
            kernel: self.kernel,
            ..options
        };
        let file = match &contract {
            Some(contract) => self.path.join(&contract.model.file),
            None => bundle.model_file().to_owned(),
        };
        let forest = Forest::from_bytes(&files.model, &options)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        if self.json {
            print_line!(
                "{:#}",
                json_description(&forest, &files.sha256, files.model.len())
            );
        } else {
            print(&forest, &files.sha256, files.model.len());
        }
        Ok(())
    }
}

fn json_description(forest: &Forest, sha256: &str, file_bytes: usize) -> serde_json::Value {
    let summary = forest.summary();
    let features: Vec<_> = forest
        .features()
        .iter()
        .map(|feature| {
            json!({
                "name": feature.name,
                "type": feature.kind.label(),
                "splits": feature.splits,
                "gain": feature.gain,
                "categories": feature.categories.as_ref().map(categories),
            })
        })
        .collect();
    json!({
        "format": summary.format.label(),
        "library_version": summary.library_version,
        "objective": summary.objective,
        "task": summary.task.label(),
        "precision": forest.precision().label(),
        "trees": summary.trees,
        "groups": summary.groups,
        "depth": summary.depth,
        "leaves": summary.leaves,
        "best_iteration": summary.best_iteration,
        "sha256": sha256,
        "file_bytes": file_bytes,
        "memory_bytes": forest.size_bytes(),
        "kernel": forest.kernels().to_string(),
        "features": features,
    })
}

fn categories(categories: &Categories) -> serde_json::Value {
    match categories {
        Categories::Codes => json!("codes"),
        Categories::Uncertain => json!("uncertain"),
        Categories::Names(names) => json!(names),
        Categories::Integers(numbers) => json!(numbers),
        Categories::Hashes(hashes) => json!({ "hashes": hashes }),
    }
}

fn print(forest: &Forest, sha256: &str, file_bytes: usize) {
    let summary = forest.summary();
    let version = summary
        .library_version
        .as_deref()
        .unwrap_or("version not recorded");
    let best = summary
        .best_iteration
        .map(|round| format!("  (best iteration {round})"))
        .unwrap_or_default();
    let mut facts = TextTable::default();
    for (name, fact) in [
        ("format", format!("{} {version}", summary.format)),
        (
            "objective",
            format!(
                "{} ({}, {})",
                summary.objective,
                summary.task.label(),
                forest.precision().label()
            ),
        ),
        ("trees", format!("{}{best}", thousands(summary.trees))),
        (
            "depth",
            format!("{}, {} leaves in total", summary.depth, thousands(summary.leaves)),
        ),
        ("outputs", summary.groups.to_string()),
        (
            "size",
            format!(
                "{} in memory, {} on disk",
                human_bytes(forest.size_bytes()),
                human_bytes(file_bytes)
            ),
        ),
        ("kernel", forest.kernels().to_string()),
        ("sha256", sha256.to_owned()),
    ] {
        facts.add_row([name.to_owned(), fact]);
    }
    print_table(&facts, " ");
    let mut features = TextTable::with_header(["feature", "type", "splits", "gain", "categories"], &[2, 3]);
    for feature in forest.features() {
        features.add_row([
            feature.name.clone(),
            feature.kind.label().to_owned(),
            thousands(feature.splits as usize),
            format!("{:.1}", feature.gain),
            first_categories(feature),
        ]);
    }
    let count = counted(forest.features().len(), "feature");
    print_line!("\n{BOLD}{count}{BOLD:#}");
    print_table(&features, " ");
}

/// Returns the first few categories and the number of the others.
fn first_categories(feature: &Feature) -> String {
    const SHOWN: usize = 4;
    let shorten = |names: Vec<String>| {
        let rest = names.len().saturating_sub(SHOWN);
        let shown = names.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
        if rest == 0 {
            shown
        } else {
            format!("{shown} and {rest} more")
        }
    };
    match &feature.categories {
        None => String::new(),
        Some(Categories::Codes) => "integer codes without names".to_owned(),
        Some(Categories::Uncertain) => {
            "uncertain: the file does not say which columns its lists belong to".to_owned()
        }
        Some(Categories::Names(names)) => shorten(names.clone()),
        Some(Categories::Integers(numbers)) => shorten(numbers.iter().map(i64::to_string).collect()),
        Some(Categories::Hashes(hashes)) => format!("{} hashes", hashes.len()),
    }
}
