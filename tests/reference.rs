//! Generates the reference pages of `docs/reference` from the code and compares them with the stored ones.
//! `EVERGREEN_BLESS=1 cargo test --features full --test reference` regenerates them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod source;
mod stored;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use evergreen::api::status;
use evergreen::app::App;
use evergreen::config::Config;
use evergreen::error::ErrorKind;
use evergreen::metrics::Registry;
use source::{Item, Items, cell};
use stored::compare;

const GENERATED: &str =
    "<!-- Generated from the code: EVERGREEN_BLESS=1 cargo test --features full --test reference -->";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn error_kinds() {
    let mut page = format!(
        "{GENERATED}\n# Error kinds\n\nEvery error that concerns a whole request has one of these kinds: `kind` in \
         metrics and in gRPC's `ErrorInfo`, the last part of `type` in problems. One entity's error carries the kind and \
         a message, too.\n\n| Kind | HTTP | gRPC | Retry after | Meaning |\n|---|---|---|---|---|\n"
    );
    let items = Items::read(&[root("src/error.rs")]);
    for kind in ErrorKind::ALL {
        let status = status::of(kind);
        let retry = status
            .retry_after
            .map_or_else(String::new, |after| format!("{} s", after.as_secs()));
        let (label, http, grpc) = (status.label, status.http.as_u16(), status.grpc);
        let meaning = items.kind_docs(&format!("{kind:?}"));
        writeln!(
            page,
            "| `{label}` | {http} | {grpc:?} | {retry} | {} |",
            cell(&meaning)
        )
        .unwrap();
    }
    compare("docs/reference/errors.md", &page);
}

#[test]
fn metrics() {
    let registry = Registry::default();
    evergreen::server::declare_metrics(&registry).unwrap();
    let mut config = Config::default();
    config.models.dir = root("models");
    App::build(config, registry.clone(), &mut |_, _| {}).unwrap();
    let mut page = format!(
        "{GENERATED}\n# Metrics\n\n`GET /metrics` on the operations port, in Prometheus' text format, beside the usual \
         `process_*` metrics. Labels of models, versions, features and sources have as many values as the repository \
         and the settings name, whatever clients send.\n\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n"
    );
    for metric in registry.declared() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (metric.name, metric.kind, labels.join(", "));
        writeln!(page, "| `{name}` | {kind} | {labels} | {} |", cell(&metric.help)).unwrap();
    }
    compare("docs/reference/metrics.md", &page);
}

#[test]
fn command_line() {
    let mut page = format!("{GENERATED}\n# Command line\n");
    let mut command = evergreen::cli::command().term_width(100);
    command.build();
    writeln!(page, "\n## evergreen\n\n```text\n{}\n```", plain(&mut command)).unwrap();
    for sub in command
        .get_subcommands_mut()
        .filter(|sub| sub.get_name() != "help")
    {
        let name = sub.get_name().to_owned();
        writeln!(page, "\n## evergreen {name}\n\n```text\n{}\n```", plain(sub)).unwrap();
        let inner = sub
            .get_subcommands_mut()
            .filter(|inner| inner.get_name() != "help");
        for inner in inner {
            let inner_name = inner.get_name().to_owned();
            let text = plain(inner);
            writeln!(
                page,
                "\n### evergreen {name} {inner_name}\n\n```text\n{text}\n```"
            )
            .unwrap();
        }
    }
    compare("docs/reference/command-line.md", &page);
}

fn plain(command: &mut clap::Command) -> String {
    let text = command.render_long_help().to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

/// Tables that do not exist by default, empty: their keys have defaults as well.
const TABLES: &str = "
[models.policy.NAME]
[source.NAME.redis]
[source.NAME.postgres]
[source.NAME.feast]
[source.NAME.feast.postgres]
[outcomes.postgres]
";

/// Values for the example of what has no default.
const EXAMPLES: &str = r#"
[models.policy.churn]
versions = { latest = 1 }
default = "stable"
labels = { stable = 7 }
canary = { version = 8, share = 0.05 }
shadow = { version = 8, share = 1.0 }
bands = [{ name = "low", from = 0.0 }, { name = "high", from = 0.6 }]
[source.online.redis]
key = "customer:{id}"
[source.online.postgres]
connect = "host=db user=evergreen dbname=features"
table = "customer_stats"
[source.online.feast]
project = "churn"
registry = "registry.db"
sqlite = "online_store.db"
server = "http://feast:6566"
[source.online.feast.redis]
[source.online.feast.postgres]
connect = "host=db user=feast dbname=feast"
[outcomes.postgres]
connect = "host=db user=evergreen dbname=outcomes"
"#;

fn table(text: &str) -> toml::Table {
    let config: Config = toml::from_str(text).unwrap();
    toml::Table::try_from(config).unwrap()
}

fn config_items() -> Items {
    let mut files = vec![root("src/config.rs"), root("src/values/band.rs")];
    for entry in std::fs::read_dir(root("src/config")).unwrap() {
        files.push(entry.unwrap().path());
    }
    Items::read(&files)
}

#[test]
fn settings() {
    let mut page = format!(
        "{GENERATED}\n# Settings\n\n`evergreen serve --config FILE` reads TOML. A variable \
         `EVERGREEN_<SECTION>__<KEY>` overrides each value, such as `EVERGREEN_SERVER__HTTP=127.0.0.1:9000`; \
         a list is a JSON array or texts with commas between them, and tables need the file. Relative paths start at the folder of the file. Durations are texts such as \
         `\"50ms\"` or `\"2h\"`. [evergreen.example.toml](../../evergreen.example.toml) has every key with its default.\n"
    );
    config_items().sections("Config", "", &table(TABLES), &mut page);
    compare("docs/reference/settings.md", &page);
}

#[test]
fn example_settings() {
    let mut page = String::from(
        "# Every setting of `evergreen serve --config FILE`, with its default. Tables that do not exist by default are\n\
         # comments. A variable EVERGREEN_<SECTION>__<KEY> overrides each value, for example\n\
         # EVERGREEN_SERVER__HTTP=127.0.0.1:9000; a list is a JSON array or texts with commas between them. Relative paths start at the folder of this file.\n\
         #\n# Generated from the code: EVERGREEN_BLESS=1 cargo test --features full --test reference\n",
    );
    let items = config_items();
    items.example("Config", "", Some(&table("")), &table(EXAMPLES), &mut page);
    compare("evergreen.example.toml", &page);
    // What is written as a comment is valid, too.
    let is_code = |code: &str| {
        code.starts_with('[') || code.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
    };
    let lines = page.lines().map(|line| match line.strip_prefix("# ") {
        Some(code) if is_code(code) => code,
        _ => line,
    });
    let uncommented = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(table(&uncommented), table(EXAMPLES));
}

#[test]
fn bundle() {
    let items = Items::read(&[
        root("src/models/contract.rs"),
        root("src/models/contract/calibration.rs"),
        root("src/models/contract/feature.rs"),
        root("src/models/contract/derive.rs"),
        root("src/models/contract/outcome.rs"),
        root("src/values/feature_type.rs"),
        root("src/values/band.rs"),
        root("crates/evergreen-forest/src/load.rs"),
        root("crates/evergreen-forest/src/summary.rs"),
    ]);
    let mut page = format!(
        "{GENERATED}\n# bundle.toml\n\nThe contract of a bundle, which `save_bundle` writes: what goes into the model, what \
         comes out, and the checksum of every other file. `evergreen check` reports a mistake with its line.\n"
    );
    items.sections("Contract", "", &toml::Table::new(), &mut page);
    compare("docs/reference/bundle.md", &page);
}

#[test]
fn the_parser_reads_items_as_the_pages_need_them() {
    let items = Items::parse(
        "/// A section.\n#[serde(default)]\npub struct A {\n    /// The name,\n    /// in full.\n    #[serde(rename = \"type\")]\n    \
         pub kind: Option<B>,\n}\n/// Choices.\n#[cfg_attr(\n    feature = \"serde\",\n    serde(rename_all = \"lowercase\")\n)]\npub enum B {\n    /// The first.\n    One,\n}\n",
    );
    let Some(Item::Struct { fields, .. }) = items.get("A") else {
        panic!("A is a struct")
    };
    assert_eq!(
        (fields[0].key.as_str(), fields[0].docs.as_str()),
        ("type", "The name, in full.")
    );
    let Some(Item::Enum { variants, .. }) = items.get("B") else {
        panic!("B is an enum")
    };
    assert_eq!(variants[0], ("\"one\"".to_owned(), "The first.".to_owned()));
}
