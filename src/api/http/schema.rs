//! Parts of the OpenAPI description that cannot be derived from a Rust type: values with fixed names, scalars, lines.

use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::observe::window::WindowKind;

/// Declares a schema of texts with a fixed list of values: its docs, its name and an iterator of the values.
macro_rules! labels {
    ($(#[doc = $doc:literal])+ $name:ident = $values:expr) => {
        $(#[doc = $doc])+
        pub(in crate::api::http) struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let docs = [$($doc.trim()),+].join(" ");
                $crate::api::http::schema::text_of(&docs, $values)
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(super) use labels;

labels! {
    /// Length of a window.
    WindowName = WindowKind::ALL.map(WindowKind::label)
}

/// Builds the schema of a text that is one of `values`.
pub(super) fn text_of<T: Into<String>>(docs: &str, values: impl IntoIterator<Item = T>) -> RefOr<Schema> {
    let values: Vec<String> = values.into_iter().map(Into::into).collect();
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(docs))
        .enum_values(Some(values))
        .into()
}

/// Builds the schema of a value of one of several types.
pub(super) fn any_of(docs: &str, types: impl IntoIterator<Item = Type>) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter(types))
        .description(Some(docs))
        .into()
}

/// The id of an entity.
pub(super) struct Id;

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        any_of("A text or a whole number.", [Type::String, Type::Integer])
    }
}

impl ToSchema for Id {}

/// The value of a feature.
pub(super) struct FeatureValue;

impl PartialSchema for FeatureValue {
    fn schema() -> RefOr<Schema> {
        any_of(
            "A number, a text (category or RFC 3339 timestamp), true, false or null.",
            [Type::Number, Type::String, Type::Boolean, Type::Null],
        )
    }
}

impl ToSchema for FeatureValue {}

/// Builds the schema of JSON lines: a text, each line of which is a JSON value of the schema `line`. OpenAPI 3.1 has no
/// word for such lines; `contentSchema` is JSON Schema's for a value inside a text.
pub(super) fn lines(docs: &str, line: &str) -> RefOr<Schema> {
    let content = [
        ("contentMediaType", serde_json::json!("application/x-ndjson")),
        ("contentSchema", serde_json::json!(Ref::from_schema_name(line))),
    ];
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(docs))
        .extensions(Some(content.into_iter().collect()))
        .into()
}
