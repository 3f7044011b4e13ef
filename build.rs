//! Compiles the protocol definitions with a compiler written in Rust, so that no `protoc` is needed, and prepares the files
//! of the API page.

use std::error::Error;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

/// The files of Swagger UI that the API page loads.
const PAGE_FILES: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true);
    compiler.open_files(["evergreen/v1/scoring.proto", "inference/inference.proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("evergreen.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .build_client(false)
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(compiler.file_descriptor_set())?;
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
