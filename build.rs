//! Compiles the protocol definitions with a compiler written in Rust: no `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["evergreen/v1/scoring.proto"], ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let prost = tonic_prost_build::configure();
    prost
        .build_transport(false)
        .file_descriptor_set_path(out.join("evergreen.bin"))
        .compile_fds(descriptors)?;
    Ok(())
}
