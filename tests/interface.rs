//! Everything that clients and operators rely on, compared with a stored copy: the OpenAPI document, the gRPC
//! descriptors, the metrics and the settings. Prose may change; names and shapes may not, unless the change is wanted:
//! then run the test with `EVERGREEN_BLESS=1` and review the difference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod stored;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use serde_json::Value;
use stored::compare;

/// Removes what is prose in an OpenAPI document.
fn without_prose(value: &mut Value, inside_properties: bool) {
    match value {
        Value::Object(members) => {
            if !inside_properties {
                members.retain(|key, value| {
                    !(matches!(key.as_str(), "description" | "summary" | "title") && value.is_string())
                });
            }
            for (key, value) in members {
                without_prose(value, !inside_properties && key == "properties");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| without_prose(item, false)),
        _ => {}
    }
}

#[test]
fn openapi() {
    let mut document = serde_json::to_value(evergreen::api::http::openapi()).unwrap();
    without_prose(&mut document, false);
    compare("tests/interface/openapi.json", &format!("{document:#}\n"));
}

fn message(prefix: &str, message: &DescriptorProto, out: &mut String) {
    let name = format!("{prefix}.{}", message.name());
    for field in &message.field {
        let kind = match field.type_name() {
            "" => format!("{:?}", Type::try_from(field.r#type.unwrap_or_default()).unwrap()),
            name => name.to_owned(),
        };
        let repeated = if field.label() == Label::Repeated {
            " repeated"
        } else {
            ""
        };
        let optional = if field.proto3_optional() { " optional" } else { "" };
        let oneof = match field.oneof_index {
            Some(index) if !field.proto3_optional() => format!(" oneof {index}"),
            _ => String::new(),
        };
        writeln!(
            out,
            "{name}.{} = {}{repeated}{optional}{oneof} {kind}",
            field.name(),
            field.number()
        )
        .unwrap();
    }
    message
        .nested_type
        .iter()
        .for_each(|nested| self::message(&name, nested, out));
    message
        .enum_type
        .iter()
        .for_each(|nested| enumeration(&name, nested, out));
}

fn enumeration(prefix: &str, enumeration: &EnumDescriptorProto, out: &mut String) {
    for value in &enumeration.value {
        writeln!(
            out,
            "{prefix}.{}.{} = {}",
            enumeration.name(),
            value.name(),
            value.number()
        )
        .unwrap();
    }
}

fn file(file: &FileDescriptorProto, out: &mut String) {
    let package = file.package();
    file.message_type
        .iter()
        .for_each(|nested| message(package, nested, out));
    file.enum_type
        .iter()
        .for_each(|nested| enumeration(package, nested, out));
    for service in &file.service {
        for method in &service.method {
            let stream = |is: bool| if is { "stream " } else { "" };
            writeln!(
                out,
                "{package}.{}/{} ({}{}) -> ({}{})",
                service.name(),
                method.name(),
                stream(method.client_streaming()),
                method.input_type(),
                stream(method.server_streaming()),
                method.output_type()
            )
            .unwrap();
        }
    }
}

#[test]
fn protocol_descriptors() {
    let set = FileDescriptorSet::decode(evergreen::api::grpc::descriptors()).unwrap();
    let mut text = String::new();
    for described in set
        .file
        .iter()
        .filter(|file| !file.package().starts_with("google.protobuf"))
    {
        file(described, &mut text);
    }
    compare("tests/interface/proto.txt", &text);
}

fn keys(path: &str, table: &toml::Table, out: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match value {
            toml::Value::Table(table) if !table.is_empty() => keys(&path, table, out),
            value => drop(out.insert(format!("{path}: {}", value.type_str()))),
        }
    }
}

/// One of every optional table, so that its keys are listed too.
const SOURCES: &str = r#"
[models.policy.NAME]
canary = { version = 2, share = 0.5 }
shadow = { version = 3, share = 0.5 }
labels = { stable = 1 }
default = "stable"
bands = [{ name = "low", from = 0.0 }]
[source.REDIS.redis]
[source.POSTGRES.postgres]
table = "t"
[source.FEAST.feast]
project = "p"
registry = "r"
server = "http://localhost:6566"
[source.FEAST_REDIS.feast]
project = "p"
registry = "r"
[source.FEAST_REDIS.feast.redis]
[source.FEAST_POSTGRES.feast]
project = "p"
registry = "r"
[source.FEAST_POSTGRES.feast.postgres]
[source.FEAST_SQLITE.feast]
project = "p"
registry = "r"
sqlite = "online.db"
"#;

#[test]
fn settings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evergreen.toml");
    std::fs::write(&path, SOURCES).unwrap();
    let config = evergreen::config::Config::load(Some(&path), [], &Default::default()).unwrap();
    let mut found = BTreeSet::new();
    keys("", &toml::Table::try_from(config).unwrap(), &mut found);
    let lines: Vec<String> = found.into_iter().collect();
    compare("tests/interface/settings.txt", &(lines.join("\n") + "\n"));
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Every string literal of the sources that looks like the name of a metric.
#[test]
fn metrics() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut names = BTreeSet::new();
    for path in files {
        let text = std::fs::read_to_string(path).unwrap();
        let candidates = text.split('"').filter(|part| part.starts_with("evergreen_"));
        let plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        names.extend(candidates.filter(plain).map(str::to_owned));
    }
    let lines: Vec<String> = names.into_iter().collect();
    compare("tests/interface/metrics.txt", &(lines.join("\n") + "\n"));
}
