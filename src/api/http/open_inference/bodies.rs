//! JSON bodies of the Open Inference Protocol beside inference: health, metadata, configuration, statistics, index. Their
//! doc comments are the OpenAPI descriptions.

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{
    AnyOfBuilder, ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::super::schema::{any_of, labels};
use crate::api::open_inference::{
    EXTENSIONS, IndexEntry, ModelMetadata, READY, Statistics, TensorMetadata, UNAVAILABLE, server_name,
    statistics,
};
use crate::models::ModelVersion;
use crate::scoring::Servable;
use crate::scoring::tensor::Datatype;

labels! {
    /// The type of a tensor's elements.
    DatatypeName = Datatype::names()
}

labels! {
    /// The type of a tensor's elements in a model's configuration.
    ConfigDatatype = Datatype::names().map(config_type)
}

labels! {
    /// Whether a version answers requests.
    IndexState = [READY, UNAVAILABLE]
}

/// The value of a request parameter.
pub(super) struct ParameterValue;

impl PartialSchema for ParameterValue {
    fn schema() -> RefOr<Schema> {
        any_of(
            "A text, a number, true or false.",
            [Type::String, Type::Number, Type::Boolean],
        )
    }
}

impl ToSchema for ParameterValue {}

/// An element of an output tensor.
pub(super) struct OutputElement;

impl PartialSchema for OutputElement {
    fn schema() -> RefOr<Schema> {
        any_of(
            "A number or a text; null is NaN.",
            [Type::Number, Type::String, Type::Null],
        )
    }
}

impl ToSchema for OutputElement {}

/// An element of an input tensor.
pub(super) struct TensorElement;

impl PartialSchema for TensorElement {
    fn schema() -> RefOr<Schema> {
        any_of(
            "A number, a text, true or false; null is a missing value.",
            [Type::Number, Type::String, Type::Boolean, Type::Null],
        )
    }
}

impl ToSchema for TensorElement {}

/// The elements of an input tensor. Deeper lists are read as well, but no model has a tensor of more dimensions, and
/// recursive schemas are too much for the generators of some clients.
pub(super) struct TensorElements;

impl PartialSchema for TensorElements {
    fn schema() -> RefOr<Schema> {
        let element = || Ref::from_schema_name(TensorElement::name());
        let row = ArrayBuilder::new().items(element());
        let items = AnyOfBuilder::new().item(element()).item(row);
        ArrayBuilder::new()
            .items(items)
            .description(Some("A list of elements, or of rows of elements."))
            .into()
    }
}

impl ToSchema for TensorElements {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((TensorElement::name().into(), TensorElement::schema()));
    }
}

/// A body with binary tensors.
pub(super) struct BinaryTensors;

impl PartialSchema for BinaryTensors {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
            .description(Some(
                "JSON of the length in `Inference-Header-Content-Length`, and after it the binary tensors: \
                 little-endian, row-major; each BYTES element after its length as a 32-bit integer.",
            ))
            .into()
    }
}

impl ToSchema for BinaryTensors {}

/// The server and its protocol extensions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerMetadata)]
pub(super) struct ServerBody {
    /// The server's name.
    #[schema(example = "evergreen")]
    name: &'static str,
    /// The server's version.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// The supported extensions of the protocol.
    extensions: [&'static str; 4],
}

impl ServerBody {
    pub(super) fn new() -> Self {
        Self {
            name: server_name(),
            version: env!("CARGO_PKG_VERSION"),
            extensions: EXTENSIONS,
        }
    }
}

/// Whether the server runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerLive)]
pub(super) struct LiveBody {
    /// Always true.
    pub(super) live: bool,
}

/// Whether the server or a model can answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ready)]
pub(super) struct ReadyBody {
    /// The model's name, if the question was about a model that can answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) name: Option<String>,
    /// Whether requests can be answered.
    pub(super) ready: bool,
}

/// A model's inputs and outputs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelMetadata)]
pub(super) struct MetadataBody {
    /// The model's name.
    #[schema(example = "churn")]
    name: String,
    /// The version that answers.
    versions: [String; 1],
    /// The training library.
    #[schema(example = "xgboost")]
    platform: String,
    /// The input tensors.
    inputs: Vec<TensorBody>,
    /// The output tensors; the first is the default.
    outputs: Vec<TensorBody>,
}

/// A tensor in a model's metadata.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TensorMetadata)]
struct TensorBody {
    /// The tensor's name.
    name: String,
    /// Type of the elements.
    #[schema(value_type = DatatypeName, example = "FP32")]
    datatype: &'static str,
    /// The dimensions; -1 is the number of rows.
    shape: Vec<i64>,
}

impl From<TensorMetadata> for TensorBody {
    fn from(tensor: TensorMetadata) -> Self {
        Self {
            name: tensor.name,
            datatype: tensor.datatype.name(),
            shape: tensor.shape,
        }
    }
}

impl MetadataBody {
    pub(super) fn new(model: &ModelVersion, metadata: ModelMetadata) -> Self {
        Self {
            name: model.name.clone(),
            versions: [model.version.to_string()],
            platform: metadata.platform,
            inputs: metadata.inputs.into_iter().map(Into::into).collect(),
            outputs: metadata.outputs.into_iter().map(Into::into).collect(),
        }
    }
}

/// A model's configuration.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelConfig)]
pub(super) struct ConfigBody {
    /// The model's name.
    #[schema(example = "churn")]
    name: String,
    /// The training library.
    #[schema(example = "xgboost")]
    platform: String,
    /// The server's name.
    #[schema(example = "evergreen")]
    backend: &'static str,
    /// Maximum rows per request.
    max_batch_size: usize,
    /// The input tensors.
    input: Vec<ConfigTensorBody>,
    /// The output tensors; the first is the default.
    output: Vec<ConfigTensorBody>,
}

/// A tensor in a model's configuration.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConfigTensor)]
struct ConfigTensorBody {
    /// The tensor's name.
    name: String,
    /// Type of the elements.
    #[schema(value_type = ConfigDatatype, example = "TYPE_FP32")]
    data_type: String,
    /// The dimensions without the number of rows.
    dims: Vec<i64>,
}

/// The name of a datatype in configurations: `TYPE_FP32`, and `TYPE_STRING` for BYTES.
fn config_type(name: &str) -> String {
    match name {
        "BYTES" => "TYPE_STRING".to_owned(),
        name => format!("TYPE_{name}"),
    }
}

impl From<TensorMetadata> for ConfigTensorBody {
    fn from(tensor: TensorMetadata) -> Self {
        Self {
            name: tensor.name,
            data_type: config_type(tensor.datatype.name()),
            dims: tensor.shape.get(1..).unwrap_or_default().to_vec(),
        }
    }
}

impl ConfigBody {
    pub(super) fn new(model: &ModelVersion, metadata: ModelMetadata, max_batch_size: usize) -> Self {
        Self {
            name: model.name.clone(),
            platform: metadata.platform,
            backend: server_name(),
            max_batch_size,
            input: metadata.inputs.into_iter().map(Into::into).collect(),
            output: metadata.outputs.into_iter().map(Into::into).collect(),
        }
    }
}

/// Statistics of models.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelStatistics)]
pub(super) struct StatisticsBody {
    /// One entry per model.
    pub(super) model_stats: Vec<ModelStatisticsBody>,
}

/// Statistics of a version since it went live.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VersionStatistics)]
pub(super) struct ModelStatisticsBody {
    /// The model's name.
    #[schema(example = "churn")]
    name: String,
    /// The version.
    #[schema(example = "3")]
    version: String,
    /// Rows that were scored.
    #[schema(example = 64)]
    inference_count: u64,
    /// Runs of the model: one per request, whatever its number of rows.
    #[schema(example = 1)]
    execution_count: u64,
    /// Durations by stage.
    inference_stats: DurationsBody,
    /// Always empty: the server does not merge requests.
    #[schema(value_type = Vec<DurationBody>)]
    batch_stats: [DurationBody; 0],
}

/// Durations of inference by stage. Stages that the server does not have are zero.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InferenceDurations)]
struct DurationsBody {
    /// Answered requests.
    success: DurationBody,
    /// Failed requests.
    fail: DurationBody,
    /// Always zero.
    queue: DurationBody,
    /// Always zero.
    compute_input: DurationBody,
    /// Evaluation of the model.
    compute_infer: DurationBody,
    /// Always zero.
    compute_output: DurationBody,
    /// Always zero.
    cache_hit: DurationBody,
    /// Always zero.
    cache_miss: DurationBody,
}

/// A number of events and their total duration.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
#[schema(as = Durations)]
struct DurationBody {
    /// Number of events.
    count: u64,
    /// Total nanoseconds.
    ns: u64,
}

impl From<(u64, u64)> for DurationBody {
    fn from((count, ns): (u64, u64)) -> Self {
        Self { count, ns }
    }
}

impl From<&Servable> for ModelStatisticsBody {
    fn from(servable: &Servable) -> Self {
        let Statistics {
            inference_count,
            execution_count,
            success,
            fail,
        } = statistics(servable);
        let none = DurationBody::default();
        Self {
            name: servable.model.name.clone(),
            version: servable.model.version.to_string(),
            inference_count,
            execution_count,
            inference_stats: DurationsBody {
                success: success.into(),
                fail: fail.into(),
                queue: none,
                compute_input: none,
                compute_infer: success.into(),
                compute_output: none,
                cache_hit: none,
                cache_miss: none,
            },
            batch_stats: [],
        }
    }
}

/// Which versions the index lists.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, expecting = r#"an object such as {"ready": true}"#)]
#[schema(as = IndexRequest)]
pub(super) struct IndexRequestBody {
    /// List only versions that answer requests.
    pub(super) ready: bool,
}

/// A version in the repository.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IndexEntry)]
pub(super) struct IndexBody {
    /// The model's name.
    #[schema(example = "churn")]
    name: String,
    /// The version.
    #[schema(example = "3")]
    version: String,
    /// Whether it answers requests.
    #[schema(value_type = IndexState, example = "READY")]
    state: &'static str,
    /// Why it is in this state; may be empty.
    reason: String,
}

impl From<IndexEntry> for IndexBody {
    fn from(entry: IndexEntry) -> Self {
        Self {
            name: entry.name,
            version: entry.version,
            state: entry.state,
            reason: entry.reason,
        }
    }
}
