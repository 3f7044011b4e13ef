//! JSON bodies of Open Inference requests and responses, with references to binary tensors.

use std::collections::HashMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::bodies::{DatatypeName, OutputElement, ParameterValue, TensorElements};
use super::flat::FlatData;
use crate::api::context::deadline::earlier;
use crate::api::open_inference::{TIMEOUT, invalid_timeout, timeout_deadline};
use crate::api::tensor_bytes;
use crate::api::tensor_bytes::TensorReader;
use crate::error::Error;
use crate::scoring::tensor::{Datatype, Elements, Tensor};
use crate::scoring::{Client, InferRequest, InferResponse, ModelRef};
use crate::values::json::Scalar;

/// Parameters by name; lists and objects have no meaning here and are not kept.
type Parameters = HashMap<String, Scalar>;

/// An inference request. Unknown keys are ignored, as clients send some of their own.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = InferRequest)]
#[serde(
    expecting = r#"an object such as {"inputs": [{"name": "customer_id", "shape": [1], "datatype": "BYTES", "data": ["C-1042"]}]}"#
)]
pub(super) struct InferBody {
    /// Id that the response repeats.
    pub(super) id: Option<String>,
    /// `timeout`: the client's timeout in microseconds; `binary_data_output`: return all outputs as binary tensors.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, ParameterValue>)]
    parameters: Parameters,
    /// One matrix of all features, one tensor per feature, or the ids of the entities.
    inputs: Vec<InputBody>,
    /// The outputs to return. Default: the model's first one, or `score`, `band` and `status` for ids.
    #[serde(default)]
    outputs: Vec<RequestedOutput>,
}

/// An input tensor.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = InferInput)]
#[serde(
    expecting = r#"a tensor such as {"name": "customer_id", "shape": [1], "datatype": "BYTES", "data": ["C-1042"]}"#
)]
struct InputBody {
    /// Name of the feature, the contract's entity for ids, or any other name for the matrix of all features.
    #[schema(example = "customer_id")]
    name: String,
    /// The dimensions, with the number of rows first.
    #[schema(example = json!([1]))]
    shape: Vec<i64>,
    /// Type of the elements.
    #[schema(value_type = DatatypeName, example = "BYTES")]
    datatype: String,
    /// `binary_data_size`: the bytes of this tensor after the JSON part, instead of `data`.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, ParameterValue>)]
    parameters: Parameters,
    /// The elements, row-major, as a flat or nested list. Categories are codes, or names in a BYTES tensor.
    #[schema(value_type = Option<TensorElements>)]
    data: Option<FlatData>,
}

/// An output to return.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = InferRequestedOutput)]
#[serde(expecting = r#"an output such as {"name": "score"}"#)]
struct RequestedOutput {
    /// The output's name.
    #[schema(example = "score")]
    name: String,
    /// `binary_data`: return this output as a binary tensor.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, ParameterValue>)]
    parameters: Parameters,
}

/// Which outputs to return as binary tensors.
#[derive(Debug)]
pub(in crate::api::http) struct OutputPlan {
    all: bool,
    named: Vec<(String, bool)>,
}

fn flag(parameters: &Parameters, name: &str) -> Option<bool> {
    match parameters.get(name) {
        Some(Scalar::Bool(flag)) => Some(*flag),
        _ => None,
    }
}

/// A parameter that is a whole number from 0.
fn whole(value: &Scalar) -> Option<u64> {
    match value {
        Scalar::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

impl InferBody {
    pub(super) fn output_plan(&self) -> OutputPlan {
        let all = flag(&self.parameters, "binary_data_output").unwrap_or(false);
        let binary = |output: &RequestedOutput| flag(&output.parameters, "binary_data").unwrap_or(all);
        let named = self
            .outputs
            .iter()
            .map(|output| (output.name.clone(), binary(output)));
        OutputPlan {
            all,
            named: named.collect(),
        }
    }

    /// Reads the deadline from the parameter `timeout` in microseconds, which the standard clients set.
    fn deadline(&self, arrived: Instant) -> Result<Option<Instant>, Error> {
        let Some(value) = self.parameters.get(TIMEOUT) else {
            return Ok(None);
        };
        let micros = whole(value).ok_or_else(|| invalid_timeout(described(value)))?;
        Ok(timeout_deadline(arrived, micros))
    }

    pub(super) fn into_domain(
        self,
        client: Client,
        model: ModelRef,
        mut tensors: TensorReader<'_>,
        deadline: Option<Instant>,
    ) -> Result<InferRequest, Error> {
        let deadline = earlier(deadline, self.deadline(Instant::now())?);
        let inputs = self
            .inputs
            .into_iter()
            .map(|input| input.into_tensor(&mut tensors));
        let inputs = inputs.collect::<Result<_, _>>()?;
        tensors.end()?;
        let outputs = self.outputs.into_iter().map(|output| output.name).collect();
        Ok(InferRequest {
            client,
            model,
            inputs,
            outputs,
            deadline,
        })
    }
}

impl InputBody {
    fn into_tensor(self, tensors: &mut TensorReader<'_>) -> Result<Tensor, Error> {
        let Self {
            name,
            shape,
            datatype,
            parameters,
            data,
        } = self;
        let datatype = Datatype::named(&datatype)?;
        let size = parameters.get("binary_data_size").and_then(whole);
        let elements = match (size, data) {
            (Some(size), None) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                tensor_bytes::read(&name, datatype, tensors.take(&name, size)?)?
            }
            (None, Some(data)) => elements(&name, datatype, data.0)?,
            (Some(_), Some(_)) => {
                return Err(Error::invalid(format!(
                    "input `{name}`: expected data or binary_data_size, found both"
                ))
                .about(name));
            }
            (None, None) => return Err(Error::invalid(format!("input `{name}`: data missing")).about(name)),
        };
        Tensor::new(name, datatype, &shape, elements)
    }
}

/// A value as an error message shows it.
fn described(value: &Scalar) -> String {
    match value {
        Scalar::Null => "null".to_owned(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Float(value) => value.to_string(),
        Scalar::Text(text) => format!("{text:?}"),
        Scalar::Digits(digits) => digits.clone(),
        Scalar::Other(what) => (*what).to_owned(),
    }
}

/// Converts JSON values to elements of a datatype without loss.
///
/// # Errors
/// A value cannot be represented in the datatype.
fn elements(name: &str, datatype: Datatype, data: Vec<Scalar>) -> Result<Elements, Error> {
    let mismatch = |value: &Scalar| {
        let found = described(value);
        Error::invalid(format!(
            "input `{name}`: expected {}, found {found}",
            datatype.name()
        ))
        .about(name)
    };
    if let Some((least, most)) = datatype.whole_range() {
        let whole = |value: &Scalar| match value {
            Scalar::Bool(value) if datatype == Datatype::Bool => Ok(i64::from(*value)),
            Scalar::Int(value) if (least..=most).contains(value) => Ok(*value),
            value => Err(mismatch(value)),
        };
        return data
            .iter()
            .map(whole)
            .collect::<Result<_, _>>()
            .map(Elements::Whole);
    }
    if datatype == Datatype::Bytes {
        let text = |value| match value {
            Scalar::Text(text) => Ok(text),
            value => Err(mismatch(&value)),
        };
        return data
            .into_iter()
            .map(text)
            .collect::<Result<_, _>>()
            .map(Elements::Text);
    }
    let float = |value: &Scalar| match value {
        Scalar::Null => Ok(f64::NAN),
        #[expect(clippy::cast_precision_loss, reason = "checked to be exact")]
        Scalar::Int(whole) if whole.unsigned_abs() <= 1 << 53 => Ok(*whole as f64),
        Scalar::Float(value) => Ok(*value),
        value => Err(mismatch(value)),
    };
    let single = |value: &Scalar| {
        let number = float(value)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the client declared the datatype FP32"
        )]
        let rounded = f64::from(number as f32);
        if number.is_finite() && !rounded.is_finite() {
            Err(mismatch(value))
        } else {
            Ok(rounded)
        }
    };
    let floats = match datatype {
        Datatype::Fp32 => data.iter().map(single).collect::<Result<_, _>>(),
        _ => data.iter().map(float).collect::<Result<_, _>>(),
    };
    floats.map(Elements::Float)
}

/// An inference response.
#[derive(Serialize, ToSchema)]
#[schema(as = InferResponse)]
pub(super) struct InferResponseBody<'a> {
    /// The model's name.
    #[schema(example = "churn")]
    model_name: &'a str,
    /// The version that computed the outputs.
    #[schema(example = "3")]
    model_version: String,
    /// The request's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<String>,
    /// The outputs, in the requested order.
    outputs: Vec<OutputBody<'a>>,
}

/// An output tensor.
#[derive(Serialize, ToSchema)]
#[schema(as = InferOutput)]
struct OutputBody<'a> {
    /// The output's name.
    #[schema(example = "score")]
    name: &'a str,
    /// Type of the elements.
    #[schema(value_type = DatatypeName, example = "FP64")]
    datatype: &'static str,
    /// The dimensions, with the number of rows first.
    #[schema(value_type = Vec<u64>)]
    shape: &'a [usize],
    /// The size of a binary tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parameters: Option<BinarySize>,
    /// The elements, row-major; absent for a binary tensor. Null is NaN: a missing value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<OutputElement>, required = false)]
    data: Option<TensorData<'a>>,
}

/// The size of a binary tensor.
#[derive(Serialize, ToSchema)]
struct BinarySize {
    /// Bytes of this tensor after the JSON part.
    binary_data_size: usize,
}

/// Elements as JSON; NaN becomes null, as JSON has no NaN.
#[derive(Serialize)]
#[serde(untagged)]
enum TensorData<'a> {
    Whole(&'a [i64]),
    Float(&'a [f64]),
    Text(&'a [String]),
}

/// Serializes a response: its JSON, and the binary tensors that follow it.
pub(super) fn response(
    inferred: &InferResponse,
    id: Option<String>,
    plan: &OutputPlan,
) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let mut tensors = Vec::new();
    let mut outputs = Vec::with_capacity(inferred.outputs.len());
    for Tensor {
        name,
        datatype,
        shape,
        elements,
    } in &inferred.outputs
    {
        let binary = plan
            .named
            .iter()
            .find(|(known, _)| known == name)
            .map_or(plan.all, |&(_, binary)| binary);
        let before = tensors.len();
        let data = if binary {
            tensor_bytes::write(*datatype, elements, &mut tensors);
            None
        } else {
            Some(match elements {
                Elements::Whole(values) => TensorData::Whole(values),
                Elements::Float(values) => TensorData::Float(values),
                Elements::Text(texts) => TensorData::Text(texts),
            })
        };
        let parameters = binary.then(|| BinarySize {
            binary_data_size: tensors.len() - before,
        });
        outputs.push(OutputBody {
            name,
            datatype: datatype.name(),
            shape,
            parameters,
            data,
        });
    }
    let model = &inferred.model;
    let response = InferResponseBody {
        model_name: &model.name,
        model_version: model.version.to_string(),
        id,
        outputs,
    };
    let head = serde_json::to_vec(&response).map_err(|error| Error::internal(error.to_string()))?;
    Ok((head, tensors))
}
