//! The `countersign` command.

use std::process::ExitCode;

/// The system's allocator is slower where many small records are made on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Commands must not inherit what this process was started with.
    if let Err(error) = countersign_runner::spawn::close_inherited() {
        eprintln!("countersign: inherited files can't be closed: {error}");
        return ExitCode::FAILURE;
    }
    // Another provider in the tree would make the choice ambiguous; an earlier one is the same.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    countersign::start_tracing();
    countersign::cli::main(std::env::args_os())
}
