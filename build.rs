//! Compiles `proto/` into Rust types, servers and clients, without a system `protoc`.

use std::path::PathBuf;

const PROTOS: [&str; 6] = [
    "adapterd/v1/inference.proto",
    "adapterd/v1/adapters.proto",
    "adapterd/v1/training.proto",
    "adapterd/v1/keys.proto",
    "adapterd/v1/audit.proto",
    "adapterd/v1/feedback.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(PROTOS)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Reflection serves this file as it is.
    std::fs::write(
        out.join("adapterd.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .codec_path("crate::pb::Codec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
