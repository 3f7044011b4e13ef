//! Compiles the protocol definitions with a compiler written in Rust, so that no `protoc` is needed, writes the table from
//! which the server estimates what a message will take in memory, and prepares the files of the API page.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use protox::prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

/// The files of Swagger UI that the API page loads.
const PAGE_FILES: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true);
    compiler.open_files(["evergreen/v1/scoring.proto", "inference/inference.proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("evergreen.bin"), compiler.encode_file_descriptor_set())?;
    let descriptors = compiler.file_descriptor_set();
    std::fs::write(out.join("decode_costs.rs"), decode_cost_table(&descriptors.file))?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .build_transport(false)
        .build_client(false)
        .codec_path("crate::api::grpc::codec::CountedCodec")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds_with_config(descriptors, config)?;
    PAGE_FILES.iter().try_for_each(|name| page_file(&out, name))
}

/// Writes a file of Swagger UI as `<name>.gz`: the archive holds it in the format of gzip already, without header and end
/// (RFC 1952).
fn page_file(out: &Path, name: &str) -> Result<(), Box<dyn Error>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED))?;
    let position = (0..archive.len()).find(|&position| {
        let path = archive.name_for_index(position);
        path.is_some_and(|path| path.is_ok_and(|path| path.ends_with(&format!("/dist/{name}"))))
    });
    let position = position.ok_or_else(|| format!("Swagger UI: no file {name}"))?;
    let mut file = archive.by_index_raw(position)?;
    if file.compression() != zip::CompressionMethod::DEFLATE {
        return Err(format!(
            "Swagger UI: {name}: expected deflate, found {}",
            file.compression()
        )
        .into());
    }
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    file.read_to_end(&mut gzip)?;
    gzip.extend(file.crc32().to_le_bytes());
    gzip.extend(u32::try_from(file.size())?.to_le_bytes());
    std::fs::write(out.join(format!("{name}.gz")), gzip)?;
    Ok(())
}

/// Sizes in memory, in bytes, of what prost makes from a field.
const TEXT: usize = 24;
const LIST: usize = 24;
const MAP: usize = 48;
const SCALAR: usize = 16;

type Messages<'a> = BTreeMap<String, &'a DescriptorProto>;

/// Returns the table of messages as Rust source: by message, its size in memory and what its fields take.
fn decode_cost_table(files: &[FileDescriptorProto]) -> String {
    let mut messages = Messages::new();
    for file in files {
        collect(&format!(".{}", file.package()), &file.message_type, &mut messages);
    }
    let names: Vec<&String> = messages.keys().collect();
    let index = |name: &str| names.iter().position(|known| *known == name).unwrap_or(0);
    let mut text = String::from("static MESSAGES: &[MessageCost] = &[\n");
    for (name, message) in &messages {
        let fields: String = message
            .field
            .iter()
            .filter_map(|field| {
                let cost = cost(field, &messages, &index)?;
                Some(format!("({}, FieldCost::{cost}), ", field.number()))
            })
            .collect();
        let (name, size) = (name.trim_start_matches('.'), size(message, &messages));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "    MessageCost {{ name: {name:?}, size: {size}, fields: &[{fields}] }},"
        );
    }
    text + "];\n"
}

fn collect<'a>(package: &str, found: &'a [DescriptorProto], messages: &mut Messages<'a>) {
    for message in found {
        let name = format!("{package}.{}", message.name());
        collect(&name, &message.nested_type, messages);
        messages.insert(name, message);
    }
}

fn is_repeated(field: &FieldDescriptorProto) -> bool {
    field.label() == Label::Repeated
}

/// Whether the field is a map, whose entries are messages.
fn is_map(field: &FieldDescriptorProto, messages: &Messages<'_>) -> bool {
    let entry = messages.get(field.type_name());
    entry.is_some_and(|entry| entry.options.as_ref().is_some_and(|options| options.map_entry()))
}

/// What each occurrence of a field costs beside its message; `None` if nothing.
fn cost(
    field: &FieldDescriptorProto,
    messages: &Messages<'_>,
    index: &impl Fn(&str) -> usize,
) -> Option<String> {
    let repeated = is_repeated(field);
    Some(match field.r#type() {
        Type::Message => {
            let place = match (repeated, is_map(field, messages)) {
                (false, _) => "Alone",
                (true, false) => "List",
                (true, true) => "Map",
            };
            format!(
                "Message {{ index: {}, place: Place::{place} }}",
                index(field.type_name())
            )
        }
        Type::String | Type::Bytes => format!("Text {{ repeated: {repeated} }}"),
        _ if !repeated => return None,
        Type::Double | Type::Fixed64 | Type::Sfixed64 => "Numbers { least: 8 }".to_owned(),
        Type::Float | Type::Fixed32 | Type::Sfixed32 => "Numbers { least: 4 }".to_owned(),
        _ => "Numbers { least: 1 }".to_owned(),
    })
}

/// An upper bound of the size of a message in memory, without what its fields point to.
fn size(message: &DescriptorProto, messages: &Messages<'_>) -> usize {
    let field_size = |field: &FieldDescriptorProto| match (is_repeated(field), field.r#type()) {
        (true, Type::Message) if is_map(field, messages) => MAP,
        (true, _) => LIST,
        (false, Type::Message) => messages
            .get(field.type_name())
            .map_or(SCALAR, |inner| size(inner, messages) + 8),
        (false, Type::String | Type::Bytes) => TEXT + 8,
        (false, _) => SCALAR,
    };
    message.field.iter().map(field_size).sum::<usize>().max(8)
}
