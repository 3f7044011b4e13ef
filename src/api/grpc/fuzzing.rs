//! The decoders of gRPC messages, for the fuzz targets.

use prost::{Message, Name};

use super::codec::decoded_bytes;
use super::{inference, open_inference, proto, scoring};
use crate::error::Error;
use crate::scoring::{Client, InferRequest, ScoreRequest};

/// A message that clients send.
#[derive(Clone, Copy, Debug)]
pub struct MessageKind {
    /// The bytes that the memory budget counts for what a message is decoded to.
    pub bytes: fn(&[u8]) -> usize,
    /// Decodes a message; returns whether it is valid.
    pub decode: fn(&[u8]) -> bool,
}

/// The messages with fields that take memory.
pub const MESSAGES: [MessageKind; 12] = [
    kind::<proto::ScoreRequest>(),
    kind::<inference::ModelInferRequest>(),
    kind::<proto::ScoreStreamRequest>(),
    kind::<proto::GetModelRequest>(),
    kind::<proto::GetPathsRequest>(),
    kind::<proto::GetChangesRequest>(),
    kind::<proto::ListRankingRequest>(),
    kind::<proto::RankIdsRequest>(),
    kind::<inference::ModelReadyRequest>(),
    kind::<inference::RepositoryIndexRequest>(),
    kind::<inference::RepositoryModelLoadRequest>(),
    kind::<inference::RepositoryModelUnloadRequest>(),
];

const fn kind<M: Message + Name + Default>() -> MessageKind {
    MessageKind {
        bytes: decoded_bytes::<M>,
        decode: |wire| M::decode(wire).is_ok(),
    }
}

/// Reads a scoring request; `None` if it is no message.
pub fn score(wire: &[u8]) -> Option<Result<ScoreRequest, Error>> {
    let request = proto::ScoreRequest::decode(wire).ok()?;
    Some(scoring::into_domain(Client::default(), request, None))
}

/// Reads an Open Inference request; `None` if it is no message.
pub fn infer(wire: &[u8]) -> Option<Result<InferRequest, Error>> {
    let request = inference::ModelInferRequest::decode(wire).ok()?;
    Some(open_inference::into_domain(Client::default(), request, None))
}
