//! The codec of gRPC messages: prost, after the memory for what a message decodes to was taken from the budget. Two bytes on
//! the wire may become hundreds in memory, and a message may be compressed; so a scan over the wire format counts first.

use std::cmp::Ordering;
use std::marker::PhantomData;

use bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use crate::error::Error;
use crate::memory::{self, RequestMemory};
use crate::work;

include!(concat!(env!("OUT_DIR"), "/decode_costs.rs"));

/// What a message takes in memory.
struct MessageCost {
    name: &'static str,
    /// Bytes of the message itself.
    size: usize,
    /// What occurrences of its fields take, by field number; fields that are not here take nothing.
    fields: &'static [(u32, FieldCost)],
}

/// What an occurrence of a field takes.
#[derive(Clone, Copy)]
enum FieldCost {
    /// A message.
    Message { index: usize, place: Place },
    /// A text or bytes.
    Text { repeated: bool },
    /// A list of numbers of at least `least` bytes on the wire each.
    Numbers { least: usize },
}

/// Where a message stands.
#[derive(Clone, Copy)]
enum Place {
    /// In the message itself.
    Alone,
    /// In a list.
    List,
    /// In a map, as one of its entries.
    Map,
}

/// Bytes that the allocator adds to a text, or a map to an entry.
const BLOCK: usize = 32;

/// Bytes of a text or a number in a list.
const TEXT: usize = 24;
const NUMBER: usize = 8;

/// A growing list has room for up to twice its elements.
const GROWTH: usize = 2;

/// A growing map has an old and a new table for a moment.
const MAP_GROWTH: usize = 3;

/// The first element of a list or a map makes room for so many more than growth counts.
const FIRST_ROOM: usize = 2;

impl FieldCost {
    /// Bytes of an element of a list or a map; 0 if the field is neither.
    fn element(self) -> usize {
        match self {
            Self::Message {
                place: Place::Alone, ..
            }
            | Self::Text { repeated: false } => 0,
            Self::Message { index, .. } => MESSAGES.get(index).map_or(0, |message| message.size),
            Self::Text { repeated: true } => TEXT,
            Self::Numbers { .. } => NUMBER,
        }
    }
}

/// Adds to `total` an upper bound of the bytes that a message takes when it is decoded, up to the first fault: what stands
/// before it is decoded all the same. Returns `None` at a fault.
fn count(message: &MessageCost, mut wire: &[u8], total: &mut usize) -> Option<()> {
    // By field, whether it has come before.
    let mut begun = 0_u64;
    while !wire.is_empty() {
        let (number, wire_type) = decode_key(&mut wire).ok()?;
        let position = message.fields.iter().position(|(known, _)| *known == number);
        let field = position.map(|position| message.fields[position].1);
        if let (Some(field), Some(position)) = (field, position) {
            let bit = 1 << position.min(63);
            *total += if begun & bit == 0 {
                FIRST_ROOM * field.element()
            } else {
                0
            };
            begun |= bit;
        }
        match (field, wire_type) {
            // prost reads an entry of a map whatever wire type it announces, and refuses any other message then.
            (Some(FieldCost::Message { .. }), _) | (_, WireType::LengthDelimited) => {
                let length = usize::try_from(decode_varint(&mut wire).ok()?).ok()?;
                let (part, rest) = wire.split_at_checked(length)?;
                wire = rest;
                count_part(field, part, total)?;
                continue;
            }
            (_, WireType::Varint) => {
                decode_varint(&mut wire).ok()?;
            }
            (_, WireType::SixtyFourBit) => wire = wire.get(8..)?,
            (_, WireType::ThirtyTwoBit) => wire = wire.get(4..)?,
            (_, WireType::StartGroup | WireType::EndGroup) => {
                // No message here has a group: prost refuses it in a known field, and skips it in an unknown one.
                skip_field(wire_type, number, &mut wire, DecodeContext::default()).ok()?;
                continue;
            }
        }
        if let Some(FieldCost::Numbers { .. }) = field {
            *total += NUMBER * GROWTH;
        }
    }
    Some(())
}

/// Adds what a part with a length takes: a message, a text or a list of numbers.
fn count_part(field: Option<FieldCost>, part: &[u8], total: &mut usize) -> Option<()> {
    match field {
        Some(FieldCost::Message { index, place }) => {
            let inner = MESSAGES.get(index)?;
            *total += match place {
                Place::Alone => 0,
                Place::List => inner.size * GROWTH + BLOCK,
                Place::Map => inner.size * MAP_GROWTH + BLOCK,
            };
            count(inner, part, total)?;
        }
        Some(FieldCost::Text { repeated }) => {
            *total += part.len() + BLOCK + if repeated { TEXT * GROWTH } else { 0 };
        }
        Some(FieldCost::Numbers { least }) => *total += part.len() / least * NUMBER * GROWTH,
        None => {}
    }
    Some(())
}

/// Returns an upper bound of the bytes that decoding a message of type `U` takes, whether it is valid or not.
pub(super) fn decoded_bytes<U: Message + Name>(wire: &[u8]) -> usize {
    // Methods take messages of the top level; the name of any other one has to be built.
    let position = MESSAGES
        .binary_search_by(|message| compare(message.name, U::PACKAGE, U::NAME))
        .or_else(|_| MESSAGES.binary_search_by(|message| message.name.cmp(&U::full_name())));
    let message = position.ok().and_then(|position| MESSAGES.get(position));
    let mut total = message.map_or(wire.len(), |message| message.size);
    // A fault is reported by the decoder.
    let _ = message.and_then(|message| count(message, wire, &mut total));
    total
}

/// Compares a full name with that of a message in a package, without building it.
fn compare(full: &str, package: &str, name: &str) -> Ordering {
    let full = full.as_bytes();
    let (head, rest) = full.split_at(package.len().min(full.len()));
    head.cmp(package.as_bytes())
        .then_with(|| match rest.split_first() {
            Some((first, rest)) => first.cmp(&b'.').then_with(|| rest.cmp(name.as_bytes())),
            None => Ordering::Less,
        })
}

/// The codec of the generated services.
#[derive(Debug)]
pub(super) struct CountedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for CountedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for CountedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CountedDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> CountedDecoder<U> {
        CountedDecoder {
            memory: memory::current(),
            message: PhantomData,
        }
    }
}

/// Decodes messages within the memory budget of the request. It knows the account, as the messages of a stream may be decoded
/// where the account is not the current one.
#[derive(Debug)]
pub(super) struct CountedDecoder<U> {
    memory: Option<RequestMemory>,
    message: PhantomData<U>,
}

impl<U: Message + Name + Default> Decoder for CountedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, wire: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        work::in_place(wire.remaining(), || {
            if let Some(memory) = &self.memory {
                take_decoded::<U>(memory, wire.chunk())?;
            }
            let message = U::decode(wire).map_err(|error| Status::internal(error.to_string()))?;
            if let Some(memory) = &self.memory {
                memory.keep_body(0);
            }
            Ok(Some(message))
        })
    }
}

/// Takes the memory for a message of type `U`.
fn take_decoded<U: Message + Name>(memory: &RequestMemory, wire: &[u8]) -> Result<(), Status> {
    memory.decoding(wire.len());
    memory
        .take_decoded(decoded_bytes::<U>(wire))
        .map_err(|error| Error::from(error).into())
}

#[cfg(test)]
mod tests {
    use super::super::{inference, proto};
    use super::*;

    fn bytes_of<M: Message + Name>(message: &M) -> usize {
        let name = M::full_name();
        let found = MESSAGES.iter().find(|known| known.name == name).unwrap();
        assert!(found.size >= size_of::<M>(), "{name}: {}", found.size);
        decoded_bytes::<M>(&message.encode_to_vec())
    }

    #[test]
    fn messages_are_sorted_and_no_smaller_than_in_memory() {
        assert!(MESSAGES.is_sorted_by_key(|message| message.name));
        for (full, package, name) in [
            ("a.B", "a", "B"),
            ("a.B", "a", "C"),
            ("a", "a", "B"),
            ("a.b.C", "a", "b"),
            ("ab.C", "a", "C"),
        ] {
            assert_eq!(
                compare(full, package, name),
                full.cmp(&format!("{package}.{name}")),
                "{full}"
            );
        }
        bytes_of(&proto::Entity::default());
        bytes_of(&proto::ScoreStreamRequest::default());
        bytes_of(&inference::ModelInferRequest::default());
        bytes_of(&inference::model_infer_request::InferInputTensor::default());
        bytes_of(&inference::InferTensorContents::default());
    }

    #[test]
    fn small_messages_with_many_elements_are_large() {
        let entities = proto::ScoreRequest {
            entities: vec![proto::Entity::default(); 1000],
            ..Default::default()
        };
        assert!(entities.encoded_len() <= 3000);
        assert!(bytes_of(&entities) >= 1000 * 2 * size_of::<proto::Entity>());
        let inputs = inference::ModelInferRequest {
            inputs: vec![inference::model_infer_request::InferInputTensor::default(); 1000],
            raw_input_contents: vec![Vec::new(); 1000],
            ..Default::default()
        };
        let least = 1000 * (size_of::<inference::model_infer_request::InferInputTensor>() + 24);
        assert!(bytes_of(&inputs) >= 2 * least);
        let contents = inference::InferTensorContents {
            int64_contents: vec![1; 1000],
            fp64_contents: vec![1.0; 1000],
            ..Default::default()
        };
        assert!(bytes_of(&contents) >= 2 * 16_000);
    }

    /// A list of one has room for four, and so has a map.
    #[test]
    fn messages_with_lists_of_one_element_are_large() {
        let input = inference::model_infer_request::InferInputTensor {
            parameters: [("p".to_owned(), inference::InferParameter::default())].into(),
            shape: vec![1],
            ..Default::default()
        };
        let entry = size_of::<(String, inference::InferParameter)>();
        let tensor = size_of::<inference::model_infer_request::InferInputTensor>();
        let one = bytes_of(&input) - bytes_of(&inference::model_infer_request::InferInputTensor::default());
        assert!(one >= 4 * entry + 4 * size_of::<i64>(), "{one}");
        let request = |inputs| inference::ModelInferRequest {
            inputs,
            ..Default::default()
        };
        let all = bytes_of(&request(vec![input])) - bytes_of(&request(Vec::new()));
        assert!(all >= 4 * tensor + one, "{all}");
        // Beside the new table of 64 places there is the old one of 32.
        let parameters = |count: i32| inference::model_infer_request::InferInputTensor {
            parameters: (0..count)
                .map(|number| (number.to_string(), inference::InferParameter::default()))
                .collect(),
            ..Default::default()
        };
        assert!(bytes_of(&parameters(29)) >= 96 * (entry + 1));
    }

    #[test]
    fn what_stands_before_a_fault_counts() {
        let entities = [0x1a, 0].repeat(1000);
        let whole = decoded_bytes::<proto::ScoreRequest>(&entities);
        assert!(whole >= 1000 * 2 * size_of::<proto::Entity>());
        for fault in [&[0x1a, 5, 0][..], &[0xff], &[0x1b], &[0x09, 1], &[0x7c]] {
            let wire = [&entities, fault].concat();
            assert!(proto::ScoreRequest::decode(&*wire).is_err(), "{fault:?}");
            assert_eq!(decoded_bytes::<proto::ScoreRequest>(&wire), whole, "{fault:?}");
        }
    }

    #[test]
    fn unknown_fields_take_nothing_and_hide_nothing() {
        let empty = decoded_bytes::<proto::ScoreRequest>(&[]);
        let entities = [0x1a, 0].repeat(1000);
        // A field with a length, and a group with a field in it.
        for unknown in [&[0x7a, 1, 0][..], &[0x7b, 0x12, 1, 0x78, 0x7c]] {
            assert_eq!(
                decoded_bytes::<proto::ScoreRequest>(unknown),
                empty,
                "{unknown:?}"
            );
            let wire = [unknown, &entities].concat();
            assert_eq!(proto::ScoreRequest::decode(&*wire).unwrap().entities.len(), 1000);
            let whole = decoded_bytes::<proto::ScoreRequest>(&entities);
            assert_eq!(decoded_bytes::<proto::ScoreRequest>(&wire), whole, "{unknown:?}");
        }
    }

    #[test]
    fn an_entry_of_a_map_counts_with_any_wire_type() {
        let entry = [4, 0x0a, 2, b'a', b'b'];
        let entity = |tag: u8| [&[tag][..], &entry].concat();
        let whole = decoded_bytes::<proto::Entity>(&entity(0x1a));
        for tag in [0x18, 0x19, 0x1b, 0x1c, 0x1d] {
            let wire = entity(tag);
            assert_eq!(proto::Entity::decode(&*wire).unwrap().features.len(), 1, "{tag}");
            assert_eq!(decoded_bytes::<proto::Entity>(&wire), whole, "{tag}");
        }
    }
}
