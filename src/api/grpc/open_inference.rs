//! `inference.GRPCInferenceService`: the Open Inference Protocol (V2) over gRPC, for its standard clients.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tonic::server::NamedService as _;
use tonic::{Request, Response, Status};

use super::inference::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use super::inference::{self as v2};
use super::options::{respond, with_options};
use crate::api::client;
use crate::api::context::{deadline, record_model};
use crate::api::open_inference::{
    EXTENSIONS, Statistics, TIMEOUT, TensorMetadata, index, invalid_timeout, load_or_unload, metadata,
    repository_api, server_name, statistics, timeout_deadline, version,
};
use crate::api::request_metrics::{RequestCounters, RequestMetrics};
use crate::api::tensor_bytes;
use crate::app::App;
use crate::error::{Error, ErrorKind};
use crate::lifecycle::LifecycleHandle;
use crate::scoring::tensor::{Datatype, Elements, Tensor};
use crate::scoring::{Client, InferRequest, InferResponse, ModelRef, Scorer, Servable};

/// The service's full name.
pub(super) const NAME: &str = GrpcInferenceServiceServer::<OpenInference>::NAME;

/// Builds the service.
pub(super) fn service(app: &Arc<App>, metrics: &RequestMetrics) -> GrpcInferenceServiceServer<OpenInference> {
    let infer = metrics.counters("grpc", "infer");
    let service = OpenInference {
        scorer: app.scorer.clone(),
        infer,
        repository_api: repository_api(app),
        compress_bytes: app.config.server.compress_bytes,
    };
    with_options!(
        GrpcInferenceServiceServer::new(service),
        app.config.limits.body_bytes
    )
}

pub(super) struct OpenInference {
    scorer: Arc<Scorer>,
    infer: RequestCounters,
    /// Handle for loading and unloading, if `models.repository_api` is on.
    repository_api: Option<LifecycleHandle>,
    compress_bytes: usize,
}

impl OpenInference {
    fn respond<T: prost::Message>(&self, message: T) -> Response<T> {
        respond(message, self.compress_bytes)
    }
}

fn model_ref(name: String, text: &str) -> Result<ModelRef, Error> {
    Ok(ModelRef {
        name,
        version: version(text)?,
    })
}

#[tonic::async_trait]
impl GrpcInferenceService for OpenInference {
    async fn server_live(
        &self,
        _: Request<v2::ServerLiveRequest>,
    ) -> Result<Response<v2::ServerLiveResponse>, Status> {
        Ok(self.respond(v2::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<v2::ServerReadyRequest>,
    ) -> Result<Response<v2::ServerReadyResponse>, Status> {
        let ready = self.scorer.live().why_not_ready().is_empty();
        Ok(self.respond(v2::ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<v2::ModelReadyRequest>,
    ) -> Result<Response<v2::ModelReadyResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let model = model_ref(request.name, &request.version)?;
        match self.scorer.live().find_for(&client::of(&extensions), &model) {
            Ok(_) => Ok(self.respond(v2::ModelReadyResponse { ready: true })),
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                Ok(self.respond(v2::ModelReadyResponse { ready: false }))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn server_metadata(
        &self,
        _: Request<v2::ServerMetadataRequest>,
    ) -> Result<Response<v2::ServerMetadataResponse>, Status> {
        Ok(self.respond(v2::ServerMetadataResponse {
            name: server_name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).into(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<v2::ModelMetadataRequest>,
    ) -> Result<Response<v2::ModelMetadataResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let (live, client) = (self.scorer.live(), client::of(&extensions));
        let model = model_ref(request.name, &request.version)?;
        let model = &live.find_for(&client, &model)?.model;
        let metadata = metadata(model);
        let tensor = |tensor: TensorMetadata| v2::model_metadata_response::TensorMetadata {
            name: tensor.name,
            datatype: tensor.datatype.name().to_owned(),
            shape: tensor.shape,
        };
        Ok(self.respond(v2::ModelMetadataResponse {
            name: model.name.clone(),
            versions: vec![model.version.to_string()],
            platform: metadata.platform,
            inputs: metadata.inputs.into_iter().map(tensor).collect(),
            outputs: metadata.outputs.into_iter().map(tensor).collect(),
        }))
    }

    async fn model_infer(
        &self,
        request: Request<v2::ModelInferRequest>,
    ) -> Result<Response<v2::ModelInferResponse>, Status> {
        let (_, extensions, mut request) = request.into_parts();
        record_model(&request.model_name);
        let id = std::mem::take(&mut request.id);
        let client = client::of(&extensions);
        let request = deadline::of(&extensions).and_then(|deadline| into_domain(client, request, deadline));
        let result = match request {
            Ok(request) => deadline::within(request.deadline, self.scorer.infer(request)).await,
            Err(error) => Err(error),
        };
        let inferred = self
            .infer
            .count(result.inspect(|inferred| self.infer.answered_by(&inferred.model)))?;
        Ok(self.respond(response(&inferred, id)))
    }

    async fn model_config(
        &self,
        request: Request<v2::ModelConfigRequest>,
    ) -> Result<Response<v2::ModelConfigResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let (live, client) = (self.scorer.live(), client::of(&extensions));
        let model = model_ref(request.name, &request.version)?;
        let model = &live.find_for(&client, &model)?.model;
        let metadata = metadata(model);
        let dims = |tensor: &TensorMetadata| tensor.shape.get(1..).unwrap_or_default().to_vec();
        let inputs = metadata.inputs.iter().map(|tensor| v2::ModelInput {
            name: tensor.name.clone(),
            data_type: data_type(tensor.datatype).into(),
            dims: dims(tensor),
        });
        let outputs = metadata.outputs.iter().map(|tensor| v2::ModelOutput {
            name: tensor.name.clone(),
            data_type: data_type(tensor.datatype).into(),
            dims: dims(tensor),
        });
        let config = v2::ModelConfig {
            name: model.name.clone(),
            platform: metadata.platform.clone(),
            max_batch_size: i32::try_from(self.scorer.limits().batch).unwrap_or(i32::MAX),
            input: inputs.collect(),
            output: outputs.collect(),
            backend: server_name().to_owned(),
        };
        Ok(self.respond(v2::ModelConfigResponse { config: Some(config) }))
    }

    async fn model_statistics(
        &self,
        request: Request<v2::ModelStatisticsRequest>,
    ) -> Result<Response<v2::ModelStatisticsResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let (live, client) = (self.scorer.live(), client::of(&extensions));
        let model_stats = if request.name.is_empty() {
            live.models()
                .filter(|(name, _)| client.may_use(name))
                .filter_map(|(_, entry)| entry.live.as_deref())
                .map(model_statistics)
                .collect()
        } else {
            let model = model_ref(request.name, &request.version)?;
            vec![model_statistics(live.find_for(&client, &model)?)]
        };
        Ok(self.respond(v2::ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<v2::RepositoryIndexRequest>,
    ) -> Result<Response<v2::RepositoryIndexResponse>, Status> {
        use v2::repository_index_response::ModelIndex;
        let client = client::of(request.extensions());
        let ready_only = request.into_inner().ready;
        let entries = index(&self.scorer.live(), &client, ready_only).into_iter();
        let models = entries.map(|entry| ModelIndex {
            name: entry.name,
            version: entry.version,
            state: entry.state.to_owned(),
            reason: entry.reason,
        });
        Ok(self.respond(v2::RepositoryIndexResponse {
            models: models.collect(),
        }))
    }

    async fn repository_model_load(
        &self,
        request: Request<v2::RepositoryModelLoadRequest>,
    ) -> Result<Response<v2::RepositoryModelLoadResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        client::of(&extensions).check_model(&request.model_name)?;
        load_or_unload(self.repository_api.as_ref(), request.model_name, true).await?;
        Ok(Response::new(v2::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<v2::RepositoryModelUnloadRequest>,
    ) -> Result<Response<v2::RepositoryModelUnloadResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        client::of(&extensions).check_model(&request.model_name)?;
        load_or_unload(self.repository_api.as_ref(), request.model_name, false).await?;
        Ok(Response::new(v2::RepositoryModelUnloadResponse {}))
    }
}

fn data_type(datatype: Datatype) -> v2::DataType {
    match datatype {
        Datatype::Bool => v2::DataType::TypeBool,
        Datatype::Uint8 => v2::DataType::TypeUint8,
        Datatype::Uint16 => v2::DataType::TypeUint16,
        Datatype::Uint32 => v2::DataType::TypeUint32,
        Datatype::Uint64 => v2::DataType::TypeUint64,
        Datatype::Int8 => v2::DataType::TypeInt8,
        Datatype::Int16 => v2::DataType::TypeInt16,
        Datatype::Int32 => v2::DataType::TypeInt32,
        Datatype::Int64 => v2::DataType::TypeInt64,
        Datatype::Fp32 => v2::DataType::TypeFp32,
        Datatype::Fp64 => v2::DataType::TypeFp64,
        Datatype::Bytes => v2::DataType::TypeString,
    }
}

fn model_statistics(servable: &Servable) -> v2::ModelStatistics {
    let duration = |(count, ns): (u64, u64)| Some(v2::StatisticDuration { count, ns });
    let Statistics {
        inference_count,
        execution_count,
        success,
        fail,
    } = statistics(servable);
    let none = duration((0, 0));
    v2::ModelStatistics {
        name: servable.model.name.clone(),
        version: servable.model.version.to_string(),
        inference_count,
        execution_count,
        inference_stats: Some(v2::InferStatistics {
            success: duration(success),
            fail: duration(fail),
            queue: none,
            compute_input: none,
            compute_infer: duration(success),
            compute_output: none,
            cache_hit: none,
            cache_miss: none,
        }),
    }
}

pub(super) fn into_domain(
    client: Client,
    request: v2::ModelInferRequest,
    deadline: Option<Instant>,
) -> Result<InferRequest, Error> {
    let deadline = deadline::earlier(deadline, parameter_timeout(&request.parameters)?);
    let model = model_ref(request.model_name, &request.model_version)?;
    let (inputs, raw) = (request.inputs, request.raw_input_contents);
    if !raw.is_empty() && raw.len() != inputs.len() {
        let (raw, inputs) = (raw.len(), inputs.len());
        return Err(Error::invalid(format!(
            "raw_input_contents: expected {inputs} tensors, one per input, found {raw}"
        ))
        .about("raw_input_contents"));
    }
    let mut tensors = Vec::with_capacity(inputs.len());
    for (position, input) in inputs.into_iter().enumerate() {
        let datatype = Datatype::named(&input.datatype)?;
        let elements = match (raw.get(position), input.contents) {
            (Some(raw), None) => tensor_bytes::read(&input.name, datatype, raw)?,
            (Some(_), Some(_)) => {
                return Err(Error::invalid(format!(
                    "input `{}`: expected contents or raw_input_contents, found both",
                    input.name
                ))
                .about(input.name));
            }
            (None, contents) => elements(&input.name, datatype, contents.unwrap_or_default())?,
        };
        tensors.push(Tensor::new(input.name, datatype, &input.shape, elements)?);
    }
    let outputs = request.outputs.into_iter().map(|output| output.name).collect();
    Ok(InferRequest {
        client,
        model,
        inputs: tensors,
        outputs,
        deadline,
    })
}

/// Reads the deadline from the parameter `timeout`, which the standard clients set.
fn parameter_timeout(parameters: &HashMap<String, v2::InferParameter>) -> Result<Option<Instant>, Error> {
    use v2::infer_parameter::ParameterChoice as Choice;
    let Some(parameter) = parameters.get(TIMEOUT) else {
        return Ok(None);
    };
    let micros = match parameter.parameter_choice {
        Some(Choice::Int64Param(micros)) => u64::try_from(micros).map_err(|_| invalid_timeout(micros))?,
        Some(Choice::Uint64Param(micros)) => micros,
        _ => return Err(invalid_timeout("another type")),
    };
    Ok(timeout_deadline(Instant::now(), micros))
}

/// Reads the elements from the field of their datatype.
///
/// # Errors
/// A number is out of the datatype's range, or a text is not UTF-8.
fn elements(name: &str, datatype: Datatype, contents: v2::InferTensorContents) -> Result<Elements, Error> {
    let whole = match datatype {
        Datatype::Bool => contents.bool_contents.into_iter().map(i64::from).collect(),
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => {
            contents.int_contents.into_iter().map(i64::from).collect()
        }
        Datatype::Int64 => contents.int64_contents,
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => {
            contents.uint_contents.into_iter().map(i64::from).collect()
        }
        Datatype::Uint64 => {
            let whole = |value| tensor_bytes::whole(name, value);
            let texts = contents.uint64_contents.into_iter().map(whole);
            texts.collect::<Result<_, _>>()?
        }
        Datatype::Fp32 => {
            return Ok(Elements::Float(
                contents.fp32_contents.into_iter().map(f64::from).collect(),
            ));
        }
        Datatype::Fp64 => return Ok(Elements::Float(contents.fp64_contents)),
        Datatype::Bytes => {
            let texts = contents
                .bytes_contents
                .iter()
                .map(|element| tensor_bytes::text(name, element));
            return texts.collect::<Result<_, _>>().map(Elements::Text);
        }
    };
    let (least, most) = datatype.whole_range().unwrap_or((i64::MIN, i64::MAX));
    match whole.iter().find(|value| !(least..=most).contains(*value)) {
        Some(value) => Err(Error::invalid(format!(
            "input `{name}`: expected {} from {least} to {most}, found {value}",
            datatype.name()
        ))
        .about(name)),
        None => Ok(Elements::Whole(whole)),
    }
}

/// Encodes the response. Outputs are raw tensors only, as the standard clients expect.
fn response(inferred: &InferResponse, id: String) -> v2::ModelInferResponse {
    use v2::model_infer_response::InferOutputTensor;
    let mut raw = Vec::with_capacity(inferred.outputs.len());
    let mut outputs = Vec::with_capacity(inferred.outputs.len());
    for Tensor {
        name,
        datatype,
        shape,
        elements,
    } in &inferred.outputs
    {
        let mut bytes = Vec::new();
        tensor_bytes::write(*datatype, elements, &mut bytes);
        raw.push(bytes);
        outputs.push(InferOutputTensor {
            name: name.clone(),
            datatype: datatype.name().to_owned(),
            shape: shape
                .iter()
                .map(|&size| i64::try_from(size).unwrap_or(i64::MAX))
                .collect(),
            ..Default::default()
        });
    }
    v2::ModelInferResponse {
        model_name: inferred.model.name.clone(),
        model_version: inferred.model.version.to_string(),
        id,
        outputs,
        raw_output_contents: raw,
        ..Default::default()
    }
}
