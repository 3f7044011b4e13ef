//! `evergreen init`: from a model file and sample rows to a folder with all that a server needs.

mod bundle;
mod draft;
mod files;
mod find;
mod reference;
mod sample;

use std::path::{Path, PathBuf};

use clap::Args;

use super::publish::check_model_name;
use super::table::TextTable;
use super::{CommandError, GREEN, print_error, print_line, print_table};
use crate::features::table::Table;
use crate::files::read;
use crate::models::bundle::identity;
use crate::models::gate;
use crate::storage::temporary_name;
use crate::values::feature_type::FeatureType;
use draft::{Declared, Draft};
use evergreen_forest::{Forest, LoadOptions};
use sample::Sample;

const EXAMPLES: &str = "\
Examples:
  evergreen init --model model.ubj --rows customers.parquet          makes the folder model/
  evergreen init --model catboost.json --rows sample.csv --name churn /srv/churn
  evergreen init --model model.txt --rows rows.csv --type tenure=int --id customer

The folder has a bundle in a repository (models/NAME/1), the rows as customers, settings, a compose file, manifests for \
Kubernetes, and a README that says how to start it. The command prints what it decided and where to change it. Without \
--model or --rows it takes the only such file here.

A bundle of save_bundle is better: its golden rows have the training library's own scores, and its distributions are those \
of the training data. Those of init come from Evergreen and the sample.";

/// The largest model file, in bytes.
const MODEL_BYTES: u64 = 4 << 30;

/// Make a server's folder from a model file and sample rows
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InitCommand {
    /// Model file of XGBoost, LightGBM, CatBoost or gbdt. Default: the only one here
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Rows like those to be scored, with an id: Parquet, CSV or JSON lines. Default: the only such file here
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,
    /// Folder to make. Default: the name of the model
    dir: Option<PathBuf>,
    /// Model name. Default: the name of the model file
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Id column of the rows. Default: the column named like an id
    #[arg(long, value_name = "COLUMN")]
    id: Option<String>,
    /// Type of a feature, where the sample does not show it: float, int, bool, category or timestamp
    #[arg(long = "type", value_name = "FEATURE=TYPE", value_parser = declared_type)]
    types: Vec<Declared>,
    /// Match the columns to the features of a model without names by position
    #[arg(long)]
    by_position: bool,
}

/// Parses the type of a feature, for clap.
fn declared_type(text: &str) -> Result<Declared, String> {
    let expected = "expected FEATURE=TYPE with float, int, bool, category or timestamp";
    let (name, kind) = text.rsplit_once('=').ok_or(expected)?;
    let all = [
        FeatureType::Float,
        FeatureType::Int,
        FeatureType::Bool,
        FeatureType::Category,
        FeatureType::Timestamp,
    ];
    let kind = all
        .into_iter()
        .find(|known| known.label() == kind)
        .ok_or(expected)?;
    let name = name.to_owned();
    Ok(Declared { name, kind })
}

impl InitCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let model = find::model(self.model.as_deref())?;
        let rows = find::rows(self.rows.as_deref(), &model)?;
        let name = self.name.clone().unwrap_or_else(|| find::model_name(&model));
        check_model_name(&name)?;
        let dir = self.dir.clone().unwrap_or_else(|| PathBuf::from(&name));
        check_new(&dir)?;
        let bytes = read(&model, MODEL_BYTES).map_err(|error| format!("{}: {error}", model.display()))?;
        let forest = Forest::from_bytes(&bytes, &LoadOptions::default())
            .map_err(|error| format!("{}: {error}", model.display()))?;
        if rows.is_dir() {
            return Err(format!(
                "{}: expected a file with sample rows, found a folder",
                rows.display()
            )
            .into());
        }
        let table = Table::open(&rows).map_err(|error| error.to_string())?;
        let id = sample::id_column(&table, &forest, self.id.as_deref())?;
        let columns = sample::feature_columns(&table, &forest, &id, self.by_position)?;
        let sample = Sample::read(&table, &id, &columns)?;
        let draft = Draft::new(&forest, &columns, &sample, &self.types)?;
        let staging = Staging::beside(&dir)?;
        let bundle = staging.0.join(format!("models/{name}/1"));
        bundle::write(&bundle, &name, &id, &model, &bytes, &forest, &draft, &sample)?;
        files::write(&staging.0, &name, &rows)?;
        let (model_name, version) = identity(&bundle);
        if let Err(report) = gate::validate(&bundle, &model_name, version) {
            let reason = report.failure().map_or("", |step| step.detail.as_str());
            return Err(format!("the bundle would not go live: {reason}").into());
        }
        staging.rename(&dir)?;
        print_decisions(&dir, &name, &id, &draft, &sample);
        Ok(())
    }
}

/// Checks that nothing would be overwritten.
fn check_new(dir: &Path) -> Result<(), String> {
    let empty = match dir.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !dir.exists(),
    };
    match empty {
        true => Ok(()),
        false => Err(format!(
            "{}: exists and is not empty; choose another folder, such as evergreen init … my-server",
            dir.display()
        )),
    }
}

/// A folder under a temporary name, removed unless it is renamed.
struct Staging(PathBuf);

impl Staging {
    fn beside(dir: &Path) -> Result<Self, String> {
        let path = dir.with_file_name(temporary_name(".evergreen-init"));
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self(path))
    }

    fn rename(self, dir: &Path) -> Result<(), String> {
        std::fs::rename(&self.0, dir).map_err(|error| format!("{}: {error}", dir.display()))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn print_decisions(dir: &Path, name: &str, id: &str, draft: &Draft, sample: &Sample) {
    let rows = super::thousands(sample.rows);
    print_line!("Decided from the model and {rows} rows:");
    print_line!(" output  {}: {}", draft.output.label(), draft.output_reason);
    print_line!(" id      {id}");
    let mut table = TextTable::with_header(["feature", "type", "values", "because"], &[]);
    for feature in &draft.features {
        table.add_row([
            feature.name.clone(),
            feature.kind.label().to_owned(),
            feature.shown_values(),
            feature.reason.to_owned(),
        ]);
    }
    print_table(&table, " ");
    for note in &draft.notes {
        print_error!("{}note:{:#} {note}", super::YELLOW, super::YELLOW);
    }
    let shown = dir.display();
    print_line!(
        "Change it in {shown}/models/{name}/1/bundle.toml, and check it: evergreen check {shown}/models/{name}/1"
    );
    print_line!("{GREEN}made{GREEN:#} {shown}; start it: evergreen serve --config {shown}/evergreen.toml");
}
