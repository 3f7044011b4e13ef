//! Inference on tensors, for the Open Inference Protocol: one matrix of all features, one tensor per feature, or ids whose
//! features are looked up. Numbers go to the model unchanged, after a check that codes of categories exist; ids are scored
//! like those of any request.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::admission::Permit;
use super::batch_bytes::RESULT_BYTES;
use super::calibration::calibrate;
use super::client::Client;
use super::explain::Wanted;
use super::matrix::{Matrix, matrix};
use super::outcome::{EntityScore, Outcome, Scores};
use super::predict::predict;
use super::request::{Entity, ModelRef, ScoreRequest};
use super::rollout::Rollout;
use super::servable::Servable;
use super::tensor::{Datatype, Elements, Tensor};
use super::{Scorer, explain_walks, off_thread_if_long};
use crate::error::Error;
use crate::models::ModelVersion;
use crate::models::contract::OutputSection;
use crate::suggest::hint;
use crate::values::entity_id::EntityId;
use evergreen_forest::{Forest, OutputKind, Precision};

/// An inference request.
#[derive(Clone, Debug)]
pub struct InferRequest {
    /// Who sent it.
    pub client: Client,
    /// The model to use.
    pub model: ModelRef,
    /// The input tensors.
    pub inputs: Vec<Tensor>,
    /// Names of the requested outputs; empty for the default.
    pub outputs: Vec<String>,
    /// When the client stops waiting; `None` for no deadline of its own.
    pub deadline: Option<Instant>,
}

/// The requested outputs.
#[derive(Debug)]
pub struct InferResponse {
    /// The version that computed them.
    pub model: Arc<ModelVersion>,
    /// The outputs in the requested order.
    pub outputs: Vec<Tensor>,
}

impl InferResponse {
    /// Bytes of the outputs in memory, about.
    pub fn bytes(&self) -> usize {
        let numbers = self
            .outputs
            .iter()
            .map(|output| output.shape.iter().product::<usize>());
        numbers.sum::<usize>() * NUMBER_BYTES
    }

    /// The number of rows that were scored.
    fn rows(&self) -> usize {
        let first = self.outputs.first().and_then(|output| output.shape.first());
        first.copied().unwrap_or(0)
    }
}

/// An output of a model.
#[derive(Clone, Debug)]
pub struct OutputTensor {
    /// The name.
    pub name: &'static str,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Numbers per row.
    pub width: usize,
}

/// Bytes of a number of an output in memory.
const NUMBER_BYTES: usize = 16;

/// Bytes of a number of an output from the forest to the text of the answer.
const NUMBER_WORK_BYTES: usize = 48;

/// The memory of an inference in bytes. An estimate from above.
fn infer_bytes(model: &ModelVersion, request: &InferRequest, rows: usize) -> usize {
    let wanted = |name: &str| match request.outputs.as_slice() {
        [] => true,
        names => names.iter().any(|wanted| wanted == name),
    };
    let widths = outputs(model).into_iter().filter(|output| wanted(output.name));
    let width: usize = widths.map(|output| output.width).sum();
    let row = model.inputs.len() * 3 * size_of::<f64>() + width * NUMBER_WORK_BYTES + RESULT_BYTES;
    rows.saturating_mul(row)
}

/// The outputs of a forest, by name.
const FOREST_OUTPUTS: [(&str, OutputKind); 6] = [
    ("probability", OutputKind::Value),
    ("value", OutputKind::Value),
    ("margin", OutputKind::Margin),
    ("class", OutputKind::Class),
    ("contributions", OutputKind::Contributions),
    ("leaf", OutputKind::Leaf),
];

/// The outputs for ids, with the type of each.
const ENTITY_OUTPUTS: [(&str, Datatype); 4] = [
    ("score", Datatype::Fp64),
    ("band", Datatype::Bytes),
    ("status", Datatype::Bytes),
    ("version", Datatype::Int64),
];

impl Scorer {
    /// Computes outputs for tensors; much work runs on a blocking thread.
    ///
    /// # Errors
    /// The model, an input or an output is not valid; the message names it.
    pub async fn infer(self: &Arc<Self>, request: InferRequest) -> Result<InferResponse, Error> {
        let rows = request
            .inputs
            .first()
            .and_then(|input| input.shape.first())
            .copied()
            .unwrap_or(0);
        let explain = request.outputs.iter().any(|name| name == "contributions");
        request.client.check_model(&request.model.name)?;
        let live = self.live();
        let servable = live.find(&request.model)?.clone();
        let bytes = infer_bytes(&servable.model, &request, rows);
        let wanted = match explain {
            true => Wanted::one(),
            false => Wanted::default(),
        };
        let permit = self.permit(&request.client, rows, Self::cost(rows, wanted), bytes)?;
        let mut seen = HashSet::new();
        if let Some(twice) = request.outputs.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(Error::invalid(format!("duplicate output `{twice}`")).about("outputs"));
        }
        let start = Instant::now();
        let result = match entities(&servable.model, &request.inputs) {
            Some(entities) => {
                let trials = live.trials(&request.model).cloned();
                self.infer_entities(servable.clone(), trials, request, entities, permit)
                    .await
            }
            None => {
                let forest = &servable.model.forest;
                let walks = match explain {
                    true => explain_walks(forest, rows),
                    false => 0,
                };
                let walks = walks.saturating_add(rows * forest.summary().trees);
                let (scorer, model) = (self.clone(), servable.model.clone());
                off_thread_if_long(walks, move || {
                    let inferred = scorer.infer_matrix(&model, &request);
                    drop(permit);
                    inferred
                })
                .await
            }
        };
        let rows = result.as_ref().ok().map(InferResponse::rows);
        servable.tensor_stats.record(start.elapsed(), rows);
        result
    }

    async fn infer_entities(
        self: &Arc<Self>,
        servable: Arc<Servable>,
        trials: Option<Rollout>,
        request: InferRequest,
        entities: Vec<Entity>,
        permit: Permit,
    ) -> Result<InferResponse, Error> {
        let known = || ENTITY_OUTPUTS.iter().map(|&(name, _)| name);
        let wanted: Vec<&str> = match request.outputs.as_slice() {
            // `version` matters only during a canary.
            [] => known().filter(|name| *name != "version").collect(),
            names => names.iter().map(String::as_str).collect(),
        };
        if let Some(name) = wanted.iter().find(|wanted| !known().any(|name| name == **wanted)) {
            return Err(no_output(name, known()));
        }
        let request = ScoreRequest {
            client: request.client,
            model: request.model.clone(),
            entities,
            explain: Wanted::default(),
            deadline: request.deadline,
        };
        let scores = self.answer_admitted(servable, trials, request, permit).await?;
        let outputs = wanted.iter().map(|name| entity_output(name, &scores));
        Ok(InferResponse {
            outputs: outputs.collect(),
            model: scores.model,
        })
    }

    fn infer_matrix(
        &self,
        model: &Arc<ModelVersion>,
        request: &InferRequest,
    ) -> Result<InferResponse, Error> {
        let matrix = matrix(model, &request.inputs)?;
        let known = outputs(model);
        let wanted = match request.outputs.as_slice() {
            [] => known.iter().take(1).collect(),
            names => names
                .iter()
                .map(|name| find(&known, name))
                .collect::<Result<Vec<_>, _>>()?,
        };
        let numbers = matrix.rows * wanted.iter().map(|output| output.width).sum::<usize>();
        if numbers > self.limits().numbers {
            let most = self.limits().numbers;
            let message = format!(
                "the response would have {numbers} numbers; limits.numbers allows {most}; send fewer rows"
            );
            return Err(Error::too_large(message));
        }
        let outputs = wanted
            .into_iter()
            .map(|output| forest_output(model, output, &matrix));
        Ok(InferResponse {
            outputs: outputs.collect::<Result<_, _>>()?,
            model: model.clone(),
        })
    }
}

fn find<'a>(known: &'a [OutputTensor], name: &str) -> Result<&'a OutputTensor, Error> {
    let output = known.iter().find(|output| output.name == name);
    output.ok_or_else(|| no_output(name, known.iter().map(|output| output.name)))
}

/// The outputs of a model for matrices; the default one is the first.
pub fn outputs(model: &ModelVersion) -> Vec<OutputTensor> {
    let forest = &model.forest;
    let default = default_output(forest);
    let mut outputs: Vec<OutputTensor> = FOREST_OUTPUTS
        .iter()
        .filter(|&&(name, _)| name != "probability" || forest.gives_probabilities())
        .filter_map(|&(name, kind)| {
            let width = forest.width(kind).ok()?;
            let calibrated = name == "probability" && calibrated(model).is_some();
            let datatype = if calibrated {
                Datatype::Fp64
            } else {
                datatype(forest, kind)
            };
            Some(OutputTensor {
                name,
                datatype,
                width,
            })
        })
        .collect();
    outputs.sort_by_key(|output| output.name != default);
    outputs
}

/// The output section of a contract with a calibration.
fn calibrated(model: &ModelVersion) -> Option<&OutputSection> {
    let output = &model.contract.as_ref()?.output;
    output.calibration.as_ref().map(|_| output)
}

fn default_output(forest: &Forest) -> &'static str {
    if forest.gives_probabilities() {
        "probability"
    } else {
        "value"
    }
}

fn datatype(forest: &Forest, kind: OutputKind) -> Datatype {
    match (kind, forest.precision()) {
        (OutputKind::Class | OutputKind::Leaf, _) => Datatype::Int32,
        (_, Precision::F32) => Datatype::Fp32,
        (_, Precision::F64) => Datatype::Fp64,
    }
}

fn no_output<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    let hint = hint(name, known.clone());
    let known: Vec<&str> = known.collect();
    Error::invalid(format!(
        "the model has no output `{name}`{hint}; it has: {}",
        known.join(", ")
    ))
    .about("outputs")
}

fn forest_output(model: &ModelVersion, output: &OutputTensor, matrix: &Matrix) -> Result<Tensor, Error> {
    let name = output.name;
    let kind = FOREST_OUTPUTS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(OutputKind::Value, |&(_, kind)| kind);
    let mut values = predict(&model.forest, kind, &matrix.values)?;
    if let Some(section) = calibrated(model).filter(|_| name == "probability") {
        let margins = predict(&model.forest, OutputKind::Margin, &matrix.values)?;
        for (value, margin) in values.iter_mut().zip(margins) {
            *value = calibrate(section, Some(margin), *value);
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "classes and leaves are small whole numbers"
    )]
    let elements = match output.datatype {
        Datatype::Int32 => Elements::Whole(values.iter().map(|&value| value as i64).collect()),
        _ => Elements::Float(values),
    };
    let shape = vec![matrix.rows, output.width];
    Ok(Tensor {
        name: name.to_owned(),
        datatype: output.datatype,
        shape,
        elements,
    })
}

/// The entities of a request whose only input has the name of the contract's entity.
fn entities(model: &ModelVersion, inputs: &[Tensor]) -> Option<Vec<Entity>> {
    let [ids] = inputs else { return None };
    if ids.name != model.contract.as_ref()?.model.entity || model.input(&ids.name).is_some() {
        return None;
    }
    let entity = |id| Entity {
        id: Some(id),
        features: Vec::new(),
    };
    match &ids.elements {
        Elements::Text(texts) => Some(
            texts
                .iter()
                .map(|id| entity(EntityId::Text(id.clone())))
                .collect(),
        ),
        Elements::Whole(numbers) => Some(numbers.iter().map(|&id| entity(EntityId::Int(id))).collect()),
        Elements::Float(_) => None,
    }
}

fn entity_output(name: &str, scores: &Scores) -> Tensor {
    let results = &scores.results;
    let scored = |result: &EntityScore| match &result.outcome {
        Outcome::Scored(scored) => Some((scored.score, scored.band.clone())),
        Outcome::Failed(_) => None,
    };
    let (datatype, elements) = match name {
        "score" => {
            let scores = results
                .iter()
                .map(|result| scored(result).map_or(f64::NAN, |(score, _)| score));
            (Datatype::Fp64, Elements::Float(scores.collect()))
        }
        "band" => {
            let bands = results.iter().map(|result| {
                scored(result)
                    .and_then(|(_, band)| band)
                    .map_or_else(String::new, |band| band.to_string())
            });
            (Datatype::Bytes, Elements::Text(bands.collect()))
        }
        "version" => {
            let version = |result: &EntityScore| result.model.as_ref().unwrap_or(&scores.model).version;
            let versions = results
                .iter()
                .map(|result| i64::try_from(version(result)).unwrap_or(i64::MAX));
            (Datatype::Int64, Elements::Whole(versions.collect()))
        }
        _ => {
            let statuses = results.iter().map(|result| result.result().label().to_owned());
            (Datatype::Bytes, Elements::Text(statuses.collect()))
        }
    };
    Tensor {
        name: name.to_owned(),
        datatype,
        shape: vec![results.len()],
        elements,
    }
}
