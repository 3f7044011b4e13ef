//! JSON bodies of Open Inference requests and responses, with references to binary tensors.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::context::deadline::earlier;
use crate::api::open_inference::{TIMEOUT, invalid_timeout, timeout_deadline};
use crate::api::tensor_bytes;
use crate::api::tensor_bytes::TensorReader;
use crate::error::Error;
use crate::scoring::tensor::{Datatype, Elements, Tensor};
use crate::scoring::{InferRequest, InferResponse, ModelRef};
use crate::values::json::{BEYOND, Scalar};

type Parameters = BTreeMap<String, Value>;

/// An inference request. Unknown keys are ignored, as clients send some of their own.
#[derive(Debug, Deserialize)]
pub(super) struct InferBody {
    pub(super) id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    inputs: Vec<InputBody>,
    #[serde(default)]
    outputs: Vec<RequestedOutput>,
}

#[derive(Debug, Deserialize)]
struct InputBody {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    data: Option<FlatData>,
}

#[derive(Debug, Deserialize)]
struct RequestedOutput {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// `data` as a flat list, from a nested or a flat one.
#[derive(Debug, Default)]
struct FlatData(Vec<Scalar>);

/// Maximum nesting depth of `data`; no model has a tensor with more dimensions.
const MAX_DEPTH: usize = 8;

impl<'de> Deserialize<'de> for FlatData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut flat = Vec::new();
        deserializer.deserialize_seq(ListVisitor {
            flat: &mut flat,
            depth: 0,
        })?;
        Ok(Self(flat))
    }
}

/// One level of a nested list.
struct ListVisitor<'a> {
    flat: &'a mut Vec<Scalar>,
    depth: usize,
}

impl<'de> Visitor<'de> for ListVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers or texts, nested or flat")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.depth == MAX_DEPTH {
            return Err(serde::de::Error::custom(format!(
                "data: expected at most {MAX_DEPTH} levels of nesting"
            )));
        }
        while seq
            .next_element_seed(ElementVisitor {
                flat: &mut *self.flat,
                depth: self.depth,
            })?
            .is_some()
        {}
        Ok(())
    }
}

/// A list or a scalar.
struct ElementVisitor<'a> {
    flat: &'a mut Vec<Scalar>,
    depth: usize,
}

impl<'de> serde::de::DeserializeSeed<'de> for ElementVisitor<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ElementVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text, true, false, null or a list of them")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        ListVisitor {
            flat: self.flat,
            depth: self.depth + 1,
        }
        .visit_seq(seq)
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.flat.push(Scalar::Null);
        Ok(())
    }
    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.flat.push(Scalar::Bool(value));
        Ok(())
    }
    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.flat.push(Scalar::Int(value));
        Ok(())
    }
    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.flat
            .push(i64::try_from(value).map_or(Scalar::Other(BEYOND), Scalar::Int));
        Ok(())
    }
    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.flat.push(Scalar::Float(value));
        Ok(())
    }
    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.flat.push(Scalar::Text(value.to_owned()));
        Ok(())
    }
}

/// Which outputs to return as binary tensors.
#[derive(Debug)]
pub(super) struct OutputPlan {
    all: bool,
    named: Vec<(String, bool)>,
}

fn flag(parameters: &Parameters, name: &str) -> Option<bool> {
    parameters.get(name).and_then(Value::as_bool)
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
        let micros = value.as_u64().ok_or_else(|| invalid_timeout(value))?;
        Ok(timeout_deadline(arrived, micros))
    }

    pub(super) fn into_domain(
        self,
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
        let size = parameters.get("binary_data_size").and_then(Value::as_u64);
        let elements = match (size, data) {
            (Some(size), None) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                tensor_bytes::read(&name, datatype, tensors.take(&name, size)?)?
            }
            (None, Some(data)) => elements(&name, datatype, data.0)?,
            (Some(_), Some(_)) => {
                return Err(Error::invalid(format!(
                    "input `{name}`: expected data or binary_data_size, found both"
                )));
            }
            (None, None) => return Err(Error::invalid(format!("input `{name}`: data missing"))),
        };
        Tensor::new(name, datatype, &shape, elements)
    }
}

/// Converts JSON values to elements of a datatype without loss.
///
/// # Errors
/// A value cannot be represented in the datatype.
fn elements(name: &str, datatype: Datatype, data: Vec<Scalar>) -> Result<Elements, Error> {
    let mismatch = |value: &Scalar| {
        let found = match value {
            Scalar::Null => "null".to_owned(),
            Scalar::Bool(value) => value.to_string(),
            Scalar::Int(value) => value.to_string(),
            Scalar::Float(value) => value.to_string(),
            Scalar::Text(text) => format!("{text:?}"),
            Scalar::Other(what) => (*what).to_owned(),
        };
        Error::invalid(format!(
            "input `{name}`: expected {}, found {found}",
            datatype.name()
        ))
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

#[derive(Serialize)]
struct InferResponseBody<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<OutputBody<'a>>,
}

#[derive(Serialize)]
struct OutputBody<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<TensorData<'a>>,
}

#[derive(Serialize)]
struct BinarySize {
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
